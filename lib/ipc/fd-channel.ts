// Bytes and file descriptors between processes, over a Unix socket (unix(7), SCM_RIGHTS).
import { type FdHandle, native, type NativeMessage, type SlowReceiveHandle } from '../addon/native';
import { closedError, codedError, kernelCall, KernelError } from '../errors/errors';
import { array, integer, invalidType, oneOf, options, outOfRange, string } from '../errors/validate';
import { pollEvents } from '../events/poll';
import { orAborted, toSignal, Turns, type WaitOptions, Waits } from '../events/waits';
import { toKernel } from '../kernel/default-kernel';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { ReceivedFd } from './received-fd';

/** The kernel's limit of fds in one message (SCM_MAX_FD). */
const mostFds = 253;
const mostBytes = 1 << 20;

/** Of a socket whose peer is gone: the next call says what there is to say. */
const whenGone = pollEvents.error | pollEvents.hangUp;

/**
 * How messages travel. `seqpacket`: each arrives whole, as it was sent. `stream`: as bytes in a row, which the programs
 * divide themselves; for peers that speak so, as QEMU does.
 */
export type ChannelKind = 'seqpacket' | 'stream';

/** SOCK_STREAM and SOCK_SEQPACKET. @internal */
export const socketTypes: Readonly<Record<ChannelKind, number>> = { stream: 1, seqpacket: 5 };

/** What has a file descriptor, or its number. */
export type FdSource = number | { readonly fd: number };

/** How to make a channel. */
export interface ChannelOptions {
  /** Default: {@link defaultKernel}. A fake kernel's files mean something in its own process only. */
  kernel?: Kernel;
  /** Default: 'seqpacket'. */
  kind?: ChannelKind;
  /** The most bytes that a message can have which is received; 65536 unless told, up to 2^20. */
  maxBytes?: number;
}

/** A message that came. Close its fds, or the message, which closes them all. */
export interface FdMessage extends Disposable {
  bytes: Uint8Array;
  fds: ReceivedFd[];
}

/** Who is at the other end, as of when it connected, listened or made the pair (SO_PEERCRED). */
export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
  /** The groups it is in besides (SO_PEERGROUPS). */
  groups: number[];
}

/** @internal */
export function toChannel(opts: ChannelOptions | undefined): { kernel: Kernel; kind: ChannelKind; maxBytes: number } {
  const { kernel, kind = 'seqpacket', maxBytes = 65536 } = options(opts);
  return {
    kernel: toKernel(kernel),
    kind: oneOf(kind, 'kind', ['seqpacket', 'stream'] as const),
    maxBytes: integer(maxBytes, 'maxBytes', 1, mostBytes),
  };
}

/**
 * One end of a Unix socket that carries messages with file descriptors. Waiting goes through the event loop; what the peer
 * does not take makes {@link send} wait.
 */
export class FdChannel extends Closable {
  readonly kind: ChannelKind;
  readonly #kernel: Kernel;
  readonly #handle: FdHandle;
  readonly #maxBytes: number;
  readonly #waits = new Waits();
  readonly #turns = new Turns();
  #sending: Promise<unknown> | undefined;
  #receiving: Promise<unknown> = Promise.resolve();
  /** A message that is being received where that may wait. */
  #slow: SlowReceiveHandle | undefined;
  #reset: KernelError | undefined;

  static readonly #end: End<FdChannel> = {
    what: 'fd channel',
    close: (channel) => {
      channel.#waits.reject(closedError('fd channel'));
      native.fdClose(channel.#handle, false);
    },
  };

  /** Takes the socket over. @internal */
  constructor(handle: FdHandle, { kernel, kind, maxBytes }: ReturnType<typeof toChannel>) {
    super(FdChannel.#end);
    this.#handle = handle;
    this.#kernel = kernel;
    this.kind = kind;
    this.#maxBytes = maxBytes;
  }

  /** Two ends that are connected: one to keep, one for a child process to inherit (socketpair(2)). */
  static pair(opts?: ChannelOptions): [FdChannel, FdChannel] {
    const settings = toChannel(opts);
    const [one, other] = kernelCall({}, () => native.socketPair(settings.kernel.handle, socketTypes[settings.kind]));
    return [new FdChannel(one, settings), new FdChannel(other, settings)];
  }

  /**
   * Connects to whoever listens at a path ('@name': in Linux's abstract namespace).
   *
   * @throws KernelError ENOENT, ECONNREFUSED: nobody listens there. EACCES. EAGAIN: too many wait to be let in.
   *   EPROTOTYPE: it is a socket of the other kind.
   */
  static connect(path: string, opts?: ChannelOptions): FdChannel {
    const settings = toChannel(opts);
    const where = toSocketPath(path);
    const call = () => native.socketConnect(settings.kernel.handle, where, socketTypes[settings.kind]);
    return new FdChannel(kernelCall({ path }, call), settings);
  }

  /** A connected socket that was inherited. It is duplicated: the caller's own stays open and the caller's. */
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
    return new FdChannel(handle, settings);
  }

  get #socket(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** The socket, for a child process to inherit. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.#socket);
  }

  /** Who is at the other end. */
  get peer(): PeerCredentials {
    const socket = this.#socket;
    return kernelCall({}, () => native.socketPeer(socket));
  }

  /**
   * How much memory of the kernel's what was sent takes until the peer has read it, in bytes (SIOCOUTQ). 0: it has read all.
   */
  get unread(): number {
    const socket = this.#socket;
    return kernelCall({}, () => native.socketUnread(socket));
  }

  /**
   * Sends bytes, at least one, and with them file descriptors, at most 253: the peer gets duplicates of those that were
   * meant when this was called, whatever becomes of them here. Resolves when the kernel has taken the message; messages go
   * in the order of the calls. On a stream the signal ends the channel once a part has gone.
   *
   * @throws KernelError EPIPE, ECONNRESET: the peer is gone. EMSGSIZE: more than the socket takes at once. ETOOMANYREFS: too
   *   many fds on their way (RLIMIT_NOFILE). EBADF. Error ERR_CLOSED. The signal's reason.
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
    // From here on the caller may do with both what it likes.
    const rest = Uint8Array.from(data.subarray(moved)); // slice() of a Buffer is no copy
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

  /** Duplicates, so that what is closed meanwhile is sent all the same, and nothing that takes its number. */
  #hold(numbers: Int32Array): FdHandle[] {
    const held: FdHandle[] = [];
    try {
      for (const fd of numbers) {
        const copy = kernelCall({ fd }, () => native.fdDuplicate(this.#kernel.handle, fd));
        native.fdSetForeign(copy); // it may have come from somebody else
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
      if (partly) this.close(); // the peer would take what follows for the rest
      throw error;
    }
  }

  /**
   * The next message; of a stream, what there is. Undefined: the peer has closed its end. Calls get one each, in their
   * order.
   *
   * @throws Error ERR_MESSAGE_TOO_LONG: it had more bytes than `maxBytes`; ERR_FDS_LOST: it had more fds than could be
   *   opened here (RLIMIT_NOFILE). The message is gone then, its fds are closed, and the next one can be received.
   *   KernelError ECONNRESET: the peer is gone, and has not read all; what it had sent comes first. Error ERR_CLOSED. The signal's reason.
   */
  async receive(opts?: WaitOptions): Promise<FdMessage | undefined> {
    const signal = toSignal(opts);
    this.check();
    const before = this.#receiving;
    const receiving = orAborted(before, signal).then(() => this.#receiveNext(signal));
    this.#receiving = Promise.allSettled([before, receiving]).then(() => undefined); // it does not keep what came
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
      const { bytes, fds, cut, lostFds } = message;
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
  }

  /**
   * The size of the next message (of a stream, 1), which stays, and whether fds came with it. Undefined: the peer has closed
   * its end. @internal
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

  /** The kernel takes no more messages with fds for this end, where it can refuse them. @internal */
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
   * Whether all fds that may come can be opened. The kernel closes those for which there is no room, and the close of what
   * others sent takes as long as they like.
   */
  #hasRoomFor({ fds }: { fds: boolean }): boolean {
    const mayHaveFds = fds || this.kind === 'stream'; // of a stream, more may be read than what was looked at
    return !mayHaveFds || native.socketHasRoom(this.#socket);
  }

  async #takeSlowly(signal: AbortSignal | undefined): Promise<NativeMessage | undefined> {
    const socket = this.#socket;
    const slow = (this.#slow ??= kernelCall({}, () => native.socketReceiveSlowly(socket, this.#maxBytes)));
    const done = native.slowReceiveReady(slow);
    try {
      const over = this.#waits.until(done, pollEvents.readable, signal); // aborted: the next call goes on with it
      native.slowReceiveStart(slow); // now that no more fds are needed here
      await over;
    } finally {
      native.fdClose(done, false);
    }
    this.#slow = undefined;
    return this.#afterReset(() => native.slowReceiveTake(slow));
  }

  /** Where the peer has left something unread, the kernel says so before it gives what came from it. */
  #afterReset<T>(call: () => T | undefined): T | undefined {
    try {
      return kernelCall({}, call);
    } catch (error) {
      if (this.#reset !== undefined || !(error instanceof KernelError && error.code === 'ECONNRESET')) throw error;
      this.#reset = error;
      return undefined; // nothing yet: what came before is found when it is looked for again
    }
  }

  /** Every message until the peer closes its end. Leaving the loop closes nothing. */
  async *[Symbol.asyncIterator](): AsyncGenerator<FdMessage, void, undefined> {
    for (let message = await this.receive(); message; message = await this.receive()) yield message;
  }

  /** Closes this end. Calls that wait end with ERR_CLOSED; messages that wait to be sent are dropped. */
  override close(): void {
    super.close();
  }
}

function toMessage(bytes: Uint8Array, handles: readonly FdHandle[]): FdMessage {
  const fds = handles.map((handle) => new ReceivedFd(handle));
  const close = () => {
    for (const fd of fds) fd.close();
  };
  return { bytes, fds, [Symbol.dispose]: close };
}

function toBytes(bytes: unknown): Uint8Array {
  const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  if (!(data instanceof Uint8Array)) throw invalidType('bytes', 'of type string or an instance of Uint8Array', bytes);
  // A message of none cannot be told from the end.
  if (data.length === 0 || data.length > mostBytes) {
    throw outOfRange('bytes.length', `>= 1 and <= ${String(mostBytes)}`, data.length);
  }
  return data;
}

function toNumbers(fds: unknown): Int32Array {
  const sources = array(fds as readonly FdSource[], 'fds');
  if (sources.length > mostFds) throw outOfRange('fds.length', `<= ${String(mostFds)}`, sources.length);
  return Int32Array.from(sources, (source, i) => {
    const fd = typeof source === 'number' ? source : options(source, `fds[${String(i)}]`).fd;
    return integer(fd, `fds[${String(i)}]`, 0, 0x7fff_ffff);
  });
}

/** @internal */
export function toSocketPath(path: string): string {
  const bytes = Buffer.byteLength(string(path, 'path'));
  if (bytes === 0 || bytes > 107 || path.includes('\0')) throw outOfRange('path', 'a path of 1 to 107 bytes', path);
  return path;
}
