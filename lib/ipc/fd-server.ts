// A Unix socket that others connect to, for channels that carry fds.
import { type FdHandle, native } from '../addon/native';
import { closedError, kernelCall } from '../errors/errors';
import { integer, options } from '../errors/validate';
import { pollEvents } from '../events/poll';
import { toSignal, Turns, type WaitOptions, Waits } from '../events/waits';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { FdChannel, socketTypes, toChannel, toSocketPath, type ChannelOptions } from './fd-channel';
import { SocketFile } from './socket-file';

/** How to listen. */
export interface ListenSocketOptions extends ChannelOptions {
  /** Of the socket's file: who may connect. Default 0o600, this user only. */
  mode?: number;
  /** The group of the socket's file, for `mode`: this process's unless told. Others than its own take root. */
  group?: number;
  /** How many may wait to be let in: 128 unless told. */
  backlog?: number;
}

interface Listener {
  handle: FdHandle;
  /** undefined: it is in the abstract namespace. */
  file: SocketFile | undefined;
  settings: ReturnType<typeof toChannel>;
}

/** A Unix socket at a path. Its file goes when it is closed. */
export class FdServer extends Closable {
  readonly path: string;
  readonly #settings: ReturnType<typeof toChannel>;
  readonly #handle: FdHandle;
  readonly #file: SocketFile | undefined;
  readonly #waits = new Waits();
  readonly #turns = new Turns();

  static readonly #end: End<FdServer> = {
    what: 'fd server',
    close: (server) => {
      server.#waits.reject(closedError('fd server'));
      server.#file?.remove();
      native.fdClose(server.#handle, false);
    },
  };

  private constructor(path: string, { handle, file, settings }: Listener) {
    super(FdServer.#end);
    this.path = path;
    this.#handle = handle;
    this.#file = file;
    this.#settings = settings;
  }

  /**
   * Listens at a path ('@name': in Linux's abstract namespace, which has no modes). A socket file of this user's that a dead
   * process left there is replaced.
   *
   * @throws KernelError EADDRINUSE: somebody listens there (the hint says which process), or it is a file of another kind or
   *   of another user. EACCES, ENOENT: the folder. Error ERR_UNSAFE_FOLDER: users other than root and this one can exchange
   *   files in it, or in a folder above it.
   */
  static listen(path: string, opts?: ListenSocketOptions): FdServer {
    return new FdServer(path, startListening(path, opts, false));
  }

  /** The same for clients that are never to send fds: where the kernel can refuse them, it does. @internal */
  static listenWithoutFds(path: string, opts?: ListenSocketOptions): FdServer {
    return new FdServer(path, startListening(path, opts, true));
  }

  /** The next who connects: {@link FdChannel.peer} tells who. @throws Error ERR_CLOSED. The signal's reason. */
  async accept(opts?: WaitOptions): Promise<FdChannel> {
    const signal = toSignal(opts);
    await this.#turns.take();
    for (;;) {
      signal?.throwIfAborted();
      this.check();
      const handle = kernelCall({ path: this.path }, () => native.socketAccept(this.#handle));
      if (handle) return new FdChannel(handle, this.#settings);
      await this.#waits.until(this.#handle, pollEvents.readable, signal);
    }
  }

  /** Everyone who connects, until the server is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<FdChannel, void, undefined> {
    while (!this.closed) {
      try {
        yield await this.accept();
      } catch (error) {
        if (this.life.closed) return;
        throw error;
      }
    }
  }

  /** Stops listening. Channels that were accepted stay open. */
  override close(): void {
    super.close();
  }
}

function startListening(path: string, opts: ListenSocketOptions | undefined, refuseFds: boolean): Listener {
  const settings = toChannel(opts);
  const { mode = 0o600, backlog = 128, group } = options(opts);
  const where = toSocketPath(path);
  const bits = integer(mode, 'mode', 0, 0o777);
  const most = integer(backlog, 'backlog', 1, 4096);
  const ofGroup = group === undefined ? undefined : integer(group, 'group', 0, 0xffff_fffe);
  const { kernel, kind } = settings;
  const type = socketTypes[kind];
  const listen = (at: string) =>
    kernelCall({ path }, () => native.socketListen(kernel.handle, at, type, 0o600, most, refuseFds));
  if (where.startsWith('@')) return { handle: listen(where), file: undefined, settings };
  const connect = (at: string) => kernelCall({ path }, () => native.socketConnect(kernel.handle, at, type));
  return { ...SocketFile.make(where, { kernel, mode: bits, group: ofGroup, listen, connect }), settings };
}
