// FdServer listens on a Unix socket and accepts channels that carry file descriptors.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { type FdHandle, native } from '../addon/native';
import { closedError, kernelCall } from '../errors/errors';
import { fields, integer } from '../errors/validate';
import { pollEvents } from '../events/poll';
import { toSignal, Turns, type WaitOptions, Waits } from '../events/waits';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { FdChannel, socketTypes, toChannel, toSocketPath, type ChannelOptions } from './fd-channel';
import { SocketFile } from './socket-file';

/** Options for listening. */
export interface ListenSocketOptions extends ChannelOptions {
  /** The mode of the socket's file, which controls who may connect. Default: 0o600, this user only. */
  mode?: number;
  /**
   * The group of the socket's file, for use with `mode`. Default: the process's group. Setting a group that the process
   * is not in requires root.
   */
  group?: number;
  /** The maximum number of connections that wait for {@link FdServer.accept}. Default: 128. */
  backlog?: number;
}

interface Listener {
  handle: FdHandle;
  /** undefined for a socket in the abstract namespace. */
  file: SocketFile | undefined;
  settings: ReturnType<typeof toChannel>;
}

/** A listening Unix socket. Closing it removes its file. */
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
      server.#waits.reject(() => closedError('fd server'));
      server.#file?.remove();
      native.fdClose(server.#handle, false);
    },
  };

  static {
    shown(this, 'closed', 'path');
  }

  private constructor(made: Key, path: string, listener: Listener) {
    onlyInside(made, 'FdServer', 'use FdServer.listen()');
    super(FdServer.#end);
    const { handle, file, settings } = listener;
    this.path = path;
    this.#handle = handle;
    this.#file = file;
    this.#settings = settings;
  }

  /**
   * Listens at `path`. A path that starts with '@' is in Linux's abstract namespace, which has no file modes. A socket
   * file of this user that no process listens on is replaced.
   *
   * @throws KernelError EADDRINUSE: a process listens there (the hint names it), or the file is not a socket, or it
   *   belongs to another user. EACCES, ENOENT: the folder is not accessible. Error ERR_UNSAFE_FOLDER: users other than
   *   root and this one can replace files in the folder or in one of its parents.
   */
  static listen(path: string, opts?: ListenSocketOptions): FdServer {
    return new FdServer(key, path, startListening(path, opts, false));
  }

  /**
   * As {@link FdServer.listen}, for clients that must not send fds: the kernel refuses messages with fds, if it
   * supports this. @internal
   */
  static listenWithoutFds(path: string, opts?: ListenSocketOptions): FdServer {
    return new FdServer(key, path, startListening(path, opts, true));
  }

  /**
   * Accepts the next connection. {@link FdChannel.peer} has the client's credentials. @throws Error ERR_CLOSED. The
   * signal's reason.
   */
  async accept(opts?: WaitOptions): Promise<FdChannel> {
    const signal = toSignal(opts);
    await this.#turns.take();
    for (;;) {
      signal?.throwIfAborted();
      this.check();
      const handle = kernelCall({ path: this.path }, () => native.socketAccept(this.#handle));
      if (handle) return new FdChannel(key, handle, this.#settings);
      await this.#waits.until(this.#handle, pollEvents.readable, signal);
    }
  }

  /** Yields each new connection until the server is closed. */
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
  const settings = toChannel(opts, 'mode', 'group', 'backlog');
  const { mode = 0o600, backlog = 128, group } = fields(opts, 'options');
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
