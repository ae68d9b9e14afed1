// FdChannel sends bytes and file descriptors to other processes over a Unix socket (unix(7), SCM_RIGHTS).
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { type FdHandle, native, type NativeMessage, type SlowReceiveHandle } from '../addon/native';
import { closedError, codedError, kernelCall, KernelError } from '../errors/errors';
import { array, fields, integer, invalidType, oneOf, options, outOfRange, string } from '../errors/validate';
import { pollEvents } from '../events/poll';
import { orAborted, toSignal, Turns, type WaitOptions, Waits } from '../events/waits';
import { toKernel } from '../kernel/default-kernel';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { ReceivedFd } from './received-fd';

/** The kernel's limit of file descriptors in one message (SCM_MAX_FD). */
const mostFds = 253;
const mostBytes = 1 << 20;

/** The poll events of a socket whose peer is gone. The next send or receive returns the error. */
const whenGone = pollEvents.error | pollEvents.hangUp;

/**
 * The socket type. `seqpacket`: the kernel keeps message boundaries. `stream`: the kernel passes a byte stream without
 * message boundaries, for peers that require SOCK_STREAM, for example QEMU.
 */
export type ChannelKind = 'seqpacket' | 'stream';

/** The values of SOCK_STREAM and SOCK_SEQPACKET. @internal */
export const socketTypes: Readonly<Record<ChannelKind, number>> = { stream: 1, seqpacket: 5 };

/** A file descriptor number, or an object with a file descriptor. */
export type FdSource = number | { readonly fd: number };

/** Options for creating a channel. */
export interface ChannelOptions {
  /**
   * The kernel to use. Default: {@link defaultKernel}. File descriptors of a fake kernel are valid only in their own
   * process.
   */
  kernel?: Kernel;
  /** The socket type. Default: 'seqpacket'. */
  kind?: ChannelKind;
  /** The maximum size of a received message, in bytes, up to 2^20. Default: 65536. */
  maxBytes?: number;
}

/** A received message. Close its fds one by one, or close the message, which closes all of them. */
export interface FdMessage extends Disposable {
  bytes: Uint8Array;
  fds: ReceivedFd[];
}

/** Credentials of the peer process at the time when it connected, listened or created the pair (SO_PEERCRED). */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
  /** The peer's supplementary groups (SO_PEERGROUPS). */
  groups: number[];
}

/** @param more further options of the function @internal */
export function toChannel<T extends ChannelOptions>(
  opts: T | undefined,
  ...more: Exclude<keyof T & string, keyof ChannelOptions>[]
): { kernel: Kernel; kind: ChannelKind; maxBytes: number } {
  const known: string[] = ['kernel', 'kind', 'maxBytes', ...more];
  const {
    kernel,
    kind = 'seqpacket',
    maxBytes = 65536,
  } = options<ChannelOptions>(opts, known as (keyof ChannelOptions)[]);
  return {
    kernel: toKernel(kernel),
    kind: oneOf(kind, 'kind', ['seqpacket', 'stream'] as const),
    maxBytes: integer(maxBytes, 'maxBytes', 1, mostBytes),
  };
}

/**
 * One end of a Unix socket that carries messages with file descriptors. All waiting uses the event loop. {@link send}
 * waits while the socket's buffer is full.
 */
export class FdChannel extends Closable {
  readonly kind: ChannelKind;
  readonly #kernel: Kernel;
  readonly #handle: FdHandle;
  readonly #maxBytes: number;
  readonly #waits = new Waits();
  readonly #turns = new Turns();
  #sending: Promise<unknown> | undefined;
  #receiving: Promise<unknown> | undefined;
  /** The receive call in progress that may block, if any. */
  #slow: SlowReceiveHandle | undefined;
  #reset: KernelError | undefined;

  static readonly #end: End<FdChannel> = {
    what: 'fd channel',
    close: (channel) => {
      channel.#waits.reject(() => closedError('fd channel'));
      native.fdClose(channel.#handle, false);
    },
  };

  static {
    shown(this, 'closed', 'fd', 'kind');
  }

  /** Takes ownership of the socket. @internal */
  constructor(made: Key, handle: FdHandle, settings: ReturnType<typeof toChannel>) {
    onlyInside(made, 'FdChannel', 'use FdChannel.connect(), FdChannel.pair() or FdServer#accept()');
    super(FdChannel.#end);
    const { kernel, kind, maxBytes } = settings;
    this.#handle = handle;
    this.#kernel = kernel;
    this.kind = kind;
    this.#maxBytes = maxBytes;
  }

  /**
   * Creates two connected channels with socketpair(2), for example one to keep and one that a child process inherits.
   */
  static pair(opts?: ChannelOptions): [FdChannel, FdChannel] {
    const settings = toChannel(opts);
    const [one, other] = kernelCall({}, () => native.socketPair(settings.kernel.handle, socketTypes[settings.kind]));
    return [new FdChannel(key, one, settings), new FdChannel(key, other, settings)];
  }

  /**
   * Connects to a listening socket at `path`. A path that starts with '@' is in Linux's abstract namespace.
   *
   * @throws KernelError ENOENT, ECONNREFUSED: no process listens there. EACCES: no permission. EAGAIN: the server's
   *   backlog is full. EPROTOTYPE: the socket is of the other kind.
   */
  static connect(path: string, opts?: ChannelOptions): FdChannel {
    const settings = toChannel(opts);
    const where = toSocketPath(path);
    const call = () => native.socketConnect(settings.kernel.handle, where, socketTypes[settings.kind]);
    return new FdChannel(key, kernelCall({ path }, call), settings);
  }

  /**
   * Creates a channel from an inherited, connected socket. The fd is duplicated: the caller still owns and closes its
   * own.
   */
  static fromFd(fd: number, opts?: ChannelOptions): FdChannel {
    const settings = toChannel(opts);
    const number = integer(fd, 'fd', 0, 0x7fff_ffff);
    const handle = kernelCall({ fd: number }, () => native.fdDuplicate(settings.kernel.handle, number));
    native.fdSetForeign(handle);
    try {
      kernelCall({ fd: number }, () => native.socketPeer(handle)); // ENOTSOCK
    } catch (error) {
      native.fdClose(handle, false);
      throw error;
    }
    return new FdChannel(key, handle, settings);
  }

  get #socket(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** The socket's fd, for a child process to inherit. This object owns it: do not close it. */
  get fd(): number {
    return native.fdNumber(this.#socket);
  }

  /** The credentials of the peer process. */
  get peer(): PeerCredentials {
    const socket = this.#socket;
    return kernelCall({}, () => native.socketPeer(socket));
  }

  /**
   * The kernel memory used by sent messages that the peer has not read, in bytes (SIOCOUTQ). 0: the peer has read all
   * of them.
   */
  get unread(): number {
    const socket = this.#socket;
    return kernelCall({}, () => native.socketUnread(socket));
  }

  /**
   * Sends at least one byte and up to 253 file descriptors. The descriptors are duplicated during the call, so the
   * caller may close them immediately. Resolves when the kernel has accepted the message. Messages are sent in the
   * order of the calls. On a stream, an abort after a part was sent closes the channel.
   *
   * @throws KernelError EPIPE, ECONNRESET: the peer is gone. EMSGSIZE: the message is larger than the socket's buffer.
   *   ETOOMANYREFS: too many fds are in flight (RLIMIT_NOFILE). EBADF: an fd is not open. Error ERR_CLOSED. The
   *   signal's reason.
   */
  async send(bytes: Uint8Array | string, fds: readonly FdSource[] = [], opts?: WaitOptions): Promise<void> {
    const signal = toSignal(opts);
    const socket = this.#socket;
    const data = toBytes(bytes);
    const numbers = toNumbers(fds);
    signal?.throwIfAborted();
    let moved = 0;
    if (!this.#sending) {
      moved = kernelCall({}, () => native.socketSend(socket, data, numbers)) ?? 0;
      if (moved === data.length) return;
    }
    // The copies below allow the caller to change the data and close the fds.
    const rest = Uint8Array.from(data.subarray(moved)); // Buffer's slice() does not copy
    const held = moved > 0 ? [] : this.#hold(numbers);
    const before = this.#sending;
    const sending = this.#sendLater(before, rest, held, signal, moved > 0);
    const over = Promise.allSettled([before, sending]).then(() => {
      if (this.#sending === over) this.#sending = undefined;
    });
    this.#sending = over;
    return sending.finally(() => {
      for (const fd of held) native.fdClose(fd, false);
    });
  }

  /** Duplicates the fds, so that the message keeps its files if the caller closes an fd and its number is reused. */
  #hold(numbers: Int32Array): FdHandle[] {
    const held: FdHandle[] = [];
    try {
      for (const fd of numbers) {
        const copy = kernelCall({ fd }, () => native.fdDuplicate(this.#kernel.handle, fd));
        native.fdSetForeign(copy); // the file may come from another process
        held.push(copy);
      }
    } catch (error) {
      for (const fd of held) native.fdClose(fd, false);
      throw error;
    }
    return held;
  }

  async #sendLater(
    before: Promise<unknown> | undefined,
    data: Uint8Array,
    held: readonly FdHandle[],
    signal: AbortSignal | undefined,
    begun: boolean,
  ): Promise<void> {
    if (before) await orAborted(before, signal);
    let [rest, partly] = [data, begun];
    let numbers = Int32Array.from(held, (fd) => native.fdNumber(fd));
    try {
      while (rest.length > 0) {
        signal?.throwIfAborted();
        const socket = this.#socket;
        const moved = kernelCall({}, () => native.socketSend(socket, rest, numbers));
        if (moved === undefined) {
          await this.#waits.until(socket, pollEvents.writable | whenGone, signal);
          continue;
        }
        rest = rest.subarray(moved);
        numbers = new Int32Array();
        partly = true;
      }
    } catch (error) {
      if (partly) this.close(); // the peer would take the next message for the rest of this one
      throw error;
    }
  }

  /**
   * Receives the next message. On a stream, receives the available bytes. Resolves to undefined when the peer has
   * closed its end. Concurrent calls receive one message each, in the order of the calls.
   *
   * @throws Error ERR_MESSAGE_TOO_LONG: the message had more bytes than `maxBytes`. ERR_FDS_LOST: the message had more
   *   fds than this process could open (RLIMIT_NOFILE). In both cases the message is lost, its fds are closed, and the
   *   next message can be received. ERR_CLOSED. KernelError ECONNRESET: the peer closed its end with unread data;
   *   messages that it sent before are received first. The signal's reason.
   */
  async receive(opts?: WaitOptions): Promise<FdMessage | undefined> {
    const signal = toSignal(opts);
    this.check();
    const before = this.#receiving;
    if (!before && !this.#slow && !this.#turns.due) {
      signal?.throwIfAborted();
      const waiting = this.#peek();
      const message = waiting && this.#hasRoomFor(waiting) ? this.#take() : undefined;
      if (message) {
        this.#turns.count();
        return this.#check(message);
      }
    }
    const receiving = before
      ? orAborted(before, signal).then(() => this.#receiveNext(signal))
      : this.#receiveNext(signal);
    // Without the result: the chain would keep it in memory.
    const over = Promise.allSettled([before, receiving]).then(() => {
      if (this.#receiving === over) this.#receiving = undefined;
    });
    this.#receiving = over;
    return receiving;
  }

  async #receiveNext(signal: AbortSignal | undefined): Promise<FdMessage | undefined> {
    await this.#turns.take();
    for (;;) {
      signal?.throwIfAborted();
      const waiting = this.#slow ? undefined : this.#peek();
      if (!waiting && !this.#slow) {
        await this.#waits.until(this.#socket, pollEvents.readable | whenGone, signal);
        continue;
      }
      const message = waiting && this.#hasRoomFor(waiting) ? this.#take() : await this.#takeSlowly(signal);
      if (!message) continue;
      return this.#check(message);
    }
  }

  /** Returns a message to the caller; undefined: the peer has closed its end. */
  #check({ bytes, fds, cut, lostFds }: NativeMessage): FdMessage | undefined {
    if (cut || lostFds) {
      for (const fd of fds) native.fdClose(fd, false);
      throw cut
        ? codedError('ERR_MESSAGE_TOO_LONG', `a message of more than ${String(this.#maxBytes)} bytes came`)
        : codedError('ERR_FDS_LOST', 'a message came with more fds than this process can open (RLIMIT_NOFILE)');
    }
    if (bytes.length === 0 && fds.length === 0) {
      if (this.#reset === undefined) return undefined;
      throw this.#reset;
    }
    return toMessage(bytes, fds);
  }

  /**
   * Resolves to the size of the next message (1 on a stream) and whether fds came with it, without receiving it.
   * Resolves to undefined when the peer has closed its end. @internal
   */
  async peek(): Promise<{ size: number; fds: boolean } | undefined> {
    for (;;) {
      const waiting = this.#peek();
      if (!waiting) {
        await this.#waits.until(this.#socket, pollEvents.readable | whenGone, undefined);
        continue;
      }
      if (waiting.size > 0 || waiting.fds) return waiting;
      if (this.#reset === undefined) return undefined;
      throw this.#reset;
    }
  }

  /** Makes the kernel refuse messages with fds for this end, if it supports this. @internal */
  refuseFds(): void {
    const socket = this.#socket;
    kernelCall({}, () => native.socketRefuseFds(socket));
  }

  #peek(): ReturnType<typeof native.socketPeek> {
    const socket = this.#socket;
    return this.#afterReset(() => native.socketPeek(socket));
  }

  #take(): NativeMessage | undefined {
    const socket = this.#socket;
    return this.#afterReset(() => native.socketReceive(socket, this.#maxBytes));
  }

  /**
   * Whether this process can open all fds that the next message may carry. The kernel closes fds that do not fit, and
   * the close of a file from another process can block for any time.
   */
  #hasRoomFor({ fds }: { fds: boolean }): boolean {
    const mayHaveFds = fds || this.kind === 'stream'; // a read from a stream may return more than was peeked
    return !mayHaveFds || native.socketHasRoom(this.#socket);
  }

  async #takeSlowly(signal: AbortSignal | undefined): Promise<NativeMessage | undefined> {
    const socket = this.#socket;
    const slow = (this.#slow ??= kernelCall({}, () => native.socketReceiveSlowly(socket, this.#maxBytes)));
    const done = native.slowReceiveReady(slow);
    try {
      // After an abort, the next call continues this receive.
      const over = this.#waits.until(done, pollEvents.readable, signal);
      native.slowReceiveStart(slow); // this receive needs no more fds in this process
      await over;
    } finally {
      native.fdClose(done, false);
    }
    this.#slow = undefined;
    return this.#afterReset(() => native.slowReceiveTake(slow));
  }

  /**
   * If the peer closed its end with unread data, the kernel reports ECONNRESET before it returns the peer's messages.
   */
  #afterReset<T>(call: () => T | undefined): T | undefined {
    try {
      return kernelCall({}, call);
    } catch (error) {
      if (this.#reset !== undefined || !(error instanceof KernelError && error.code === 'ECONNRESET')) throw error;
      this.#reset = error;
      return undefined; // receive again: the messages from before the reset follow
    }
  }

  /** Yields every message until the peer closes its end. Leaving the loop does not close the channel. */
  async *[Symbol.asyncIterator](): AsyncGenerator<FdMessage, void, undefined> {
    for (let message = await this.receive(); message; message = await this.receive()) yield message;
  }

  /** Closes this end. Pending calls reject with ERR_CLOSED, and messages that wait to be sent are dropped. */
  override close(): void {
    super.close();
  }
}

function toMessage(bytes: Uint8Array, handles: readonly FdHandle[]): FdMessage {
  const fds = handles.map((handle) => new ReceivedFd(key, handle));
  const close = () => {
    for (const fd of fds) fd.close();
  };
  return { bytes, fds, [Symbol.dispose]: close };
}

function toBytes(bytes: unknown): Uint8Array {
  const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  if (!(data instanceof Uint8Array)) throw invalidType('bytes', 'of type string or an instance of Uint8Array', bytes);
  // An empty message looks like the end of the connection.
  if (data.length === 0 || data.length > mostBytes) {
    throw outOfRange('bytes.length', `>= 1 and <= ${String(mostBytes)}`, data.length);
  }
  return data;
}

function toNumbers(fds: unknown): Int32Array {
  const sources = array(fds as readonly FdSource[], 'fds');
  if (sources.length > mostFds) throw outOfRange('fds.length', `<= ${String(mostFds)}`, sources.length);
  return Int32Array.from(sources, (source, i) => {
    const fd = typeof source === 'number' ? source : fields(source, `fds[${String(i)}]`).fd;
    return integer(fd, `fds[${String(i)}]`, 0, 0x7fff_ffff);
  });
}

/** @internal */
export function toSocketPath(path: string): string {
  const bytes = Buffer.byteLength(string(path, 'path'));
  if (bytes === 0 || bytes > 107 || path.includes('\0')) throw outOfRange('path', 'a path of 1 to 107 bytes', path);
  return path;
}
