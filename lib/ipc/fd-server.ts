// A Unix socket that others connect to, for channels that carry fds.
import { chmodSync, chownSync, statSync, unlinkSync } from 'node:fs';
import { attempt } from '../kernel/look';
import { closedError, kernelCall, KernelError } from '../errors/errors';
import { expectClose, wasClosed } from '../lifetime/lost';
import { native, type FdHandle } from '../addon/native';
import { pollEvents } from '../events/poll';
import { integer, options } from '../errors/validate';
import { toSignal, Turns, Waits, type WaitOptions } from '../events/waits';
import { FdChannel, socketTypes, toChannel, toSocketPath, type ChannelOptions } from './fd-channel';

/** How to listen. */
export interface ListenSocketOptions extends ChannelOptions {
  /** Of the socket's file: who may connect. Default 0o600, this user only. */
  mode?: number;
  /** The group of the socket's file, for `mode`: this process's unless told. Others than its own take root. */
  group?: number;
  /** How many may wait to be let in: 128 unless told. */
  backlog?: number;
}

/** A Unix socket at a path. Its file goes when it is closed. */
export class FdServer {
  readonly path: string;
  readonly #settings: ReturnType<typeof toChannel>;
  readonly #handle: FdHandle;
  readonly #waits = new Waits();
  readonly #turns = new Turns();
  /** Of the file: somebody else may have put another in its place by the time it is closed. */
  readonly #inode: bigint | undefined;
  #closed = false;

  private constructor(path: string, handle: FdHandle, settings: ReturnType<typeof toChannel>) {
    this.path = path;
    this.#handle = handle;
    this.#settings = settings;
    this.#inode = inodeOf(path);
    expectClose(this, 'fd server');
  }

  /**
   * Listens at a path ('@name': in Linux's abstract namespace, which has no modes). A socket file that a dead process left
   * there is replaced.
   *
   * @throws KernelError EADDRINUSE: somebody listens there, or it is a file of another kind. EACCES, ENOENT: the folder.
   */
  static listen(path: string, opts?: ListenSocketOptions): FdServer {
    const settings = toChannel(opts);
    const { mode = 0o600, backlog = 128, group } = options(opts);
    const where = toSocketPath(path);
    const modeBits = integer(mode, 'mode', 0, 0o777);
    const most = integer(backlog, 'backlog', 1, 4096);
    const ofGroup = group === undefined ? undefined : integer(group, 'group', 0, 0xffff_fffe);
    const listen = () => {
      const bits = ofGroup === undefined ? modeBits : 0o600; // nobody else connects before it is the group's
      const handle = kernelCall({ path }, () =>
        native.socketListen(settings.kernel.handle, where, socketTypes[settings.kind], bits, most),
      );
      try {
        if (ofGroup !== undefined && !where.startsWith('@')) {
          chownSync(where, -1, ofGroup);
          chmodSync(where, modeBits);
        }
        return handle;
      } catch (error) {
        native.fdClose(handle, false);
        unlinkSync(where);
        throw error;
      }
    };
    try {
      return new FdServer(path, listen(), settings);
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'EADDRINUSE' && isDead(path, settings))) throw error;
      unlinkSync(path);
      return new FdServer(path, listen(), settings);
    }
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The next who connects: {@link FdChannel.peer} tells who. @throws Error ERR_CLOSED. The signal's reason. */
  async accept(opts?: WaitOptions): Promise<FdChannel> {
    const signal = toSignal(opts);
    await this.#turns.take();
    for (;;) {
      signal?.throwIfAborted();
      if (this.#closed) throw closedError('fd server');
      const handle = kernelCall({ path: this.path }, () => native.socketAccept(this.#handle));
      if (handle) return new FdChannel(handle, this.#settings);
      await this.#waits.until(this.#handle, pollEvents.readable, signal);
    }
  }

  /** Everyone who connects, until the server is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<FdChannel, void, undefined> {
    while (!this.#closed) {
      try {
        yield await this.accept();
      } catch (error) {
        if (this.closed) return;
        throw error;
      }
    }
  }

  /** Stops listening. Channels that were accepted stay open. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    wasClosed(this);
    this.#waits.reject(closedError('fd server'));
    if (this.#inode !== undefined && inodeOf(this.path) === this.#inode) attempt(() => unlinkSync(this.path));
    native.fdClose(this.#handle, false);
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

const inodeOf = (path: string): bigint | undefined =>
  path.startsWith('@') ? undefined : attempt(() => statSync(path, { bigint: true }).ino);

/** Whether nobody listens at this socket's file any more. */
function isDead(path: string, { kernel, kind }: ReturnType<typeof toChannel>): boolean {
  if (attempt(() => statSync(path).isSocket()) !== true) return false;
  try {
    native.fdClose(
      kernelCall({ path }, () => native.socketConnect(kernel.handle, path, socketTypes[kind])),
      false,
    );
    return false;
  } catch (error) {
    return error instanceof KernelError && error.code === 'ECONNREFUSED';
  }
}
