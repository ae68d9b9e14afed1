// ShareClient receives the dma-bufs that another process serves.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { EventEmitter } from 'node:events';
import { DmaBuf } from '../dmabuf/dma-buf';
import { codedError } from '../errors/errors';
import { array, instance, integer, options } from '../errors/validate';
import type { WaitOptions } from '../events/waits';
import { type ChannelOptions, FdChannel, type PeerCredentials } from './fd-channel';
import { decodeEvent, decodeHello, mostHelloBytes, type SharedBufferInfo, wrong } from './share-protocol';
import { Lifetime, type End } from '../lifetime/lifetime';

/** Options for connecting and for the server's identity. */
export interface ShareClientOptions extends Omit<ChannelOptions, 'kind'>, WaitOptions {
  /**
   * The user ids that the server may have. Default: root and this process's user. In a folder that others may write to,
   * any user can listen at the path.
   */
  serverUids?: readonly number[];
}

/** A dma-buf of another process, with the server's description of it. */
export interface SharedBuffer extends SharedBufferInfo {
  dmaBuf: DmaBuf;
}

/** The events of a {@link ShareClient}. */
export interface ShareClientEvents {
  /** The device revoked the buffer. Its mappings are no longer valid. */
  revoked: [buffer: SharedBuffer];
  /** The buffer can be mapped again. */
  restored: [buffer: SharedBuffer];
  /**
   * The connection to the server ended. Received dma-bufs stay open. `error` is set unless the server closed the
   * connection.
   */
  end: [error: unknown];
}

/** The dma-bufs that a `ShareServer` served, and events about their state. */
export class ShareClient extends EventEmitter<ShareClientEvents> {
  readonly #channel: FdChannel;
  /** The server's credentials at the time when it began to listen. */
  readonly server: PeerCredentials;
  /** The buffers in the server's order. */
  readonly buffers: readonly SharedBuffer[];

  static readonly #end: End<ShareClient> = {
    what: 'share client',
    close: (client) => {
      client.#channel.close();
      for (const { dmaBuf } of client.buffers) dmaBuf.close();
    },
  };
  readonly #life = new Lifetime(this, ShareClient.#end);

  static {
    shown(this, 'closed', 'server', 'buffers');
  }

  private constructor(made: Key, channel: FdChannel, server: PeerCredentials, buffers: readonly SharedBuffer[]) {
    onlyInside(made, 'ShareClient', 'use ShareClient.connect()');
    super();
    this.#channel = instance(channel, 'channel', FdChannel);
    this.server = server;
    this.buffers = buffers;
    void this.#listen();
  }

  /**
   * Connects and receives the shared dma-bufs. Checks the server's description of each buffer against its fd.
   *
   * @throws as {@link FdChannel.connect}. Error ERR_SHARE_UNTRUSTED: the server's user is not trusted.
   *   ERR_SHARE_REFUSED: the server does not serve this user, or has no free slot. ERR_SHARE_PROTOCOL: an invalid
   *   message, or a description that does not match its fd. ERR_SHARE_VERSION: another protocol version.
   *   ERR_NOT_DMA_BUF: the server sent an fd of another kind. ERR_OTHER_KERNEL: it shares dma-bufs of a fake kernel of
   *   its own process. The signal's reason.
   */
  static async connect(path: string, opts?: ShareClientOptions): Promise<ShareClient> {
    const { signal, serverUids, ...rest } = options(opts, ['signal', 'serverUids', 'kernel', 'maxBytes']);
    const trusted = array(serverUids ?? [0, process.geteuid?.() ?? 0], 'serverUids').map((id) =>
      integer(id, 'serverUids', 0, 0xffff_ffff),
    );
    const channel = FdChannel.connect(path, { maxBytes: mostHelloBytes, ...rest, kind: 'seqpacket' });
    const buffers: SharedBuffer[] = [];
    try {
      const server = channel.peer;
      if (!trusted.includes(server.uid)) {
        throw codedError('ERR_SHARE_UNTRUSTED', `user ${String(server.uid)} shares at ${path}: see serverUids`);
      }
      using message = await channel.receive(signal === undefined ? {} : { signal });
      channel.refuseFds(); // later messages carry no fds
      const refused = `whoever shares at ${path} serves no such user, or has enough`;
      if (!message) throw codedError('ERR_SHARE_REFUSED', refused);
      const hello = decodeHello(message.bytes);
      if (hello.refused !== undefined) throw codedError('ERR_SHARE_REFUSED', `${refused}: ${hello.refused}`);
      if (hello.buffers.length !== message.fds.length) throw wrong('there is not one fd for each buffer');
      for (const [i, info] of hello.buffers.entries()) {
        const dmaBuf = DmaBuf.fromFd(
          message.fds[i]?.fd ?? -1,
          rest.kernel === undefined ? {} : { kernel: rest.kernel },
        );
        buffers.push(data({ ...info, dmaBuf }));
        checkBuffer(info, dmaBuf);
      }
      return new ShareClient(key, channel, server, buffers);
    } catch (error) {
      for (const { dmaBuf } of buffers) dmaBuf.close();
      channel.close();
      throw error;
    }
  }

  /** Returns the buffer with this name, or undefined. */
  find(name: string): SharedBuffer | undefined {
    return this.buffers.find((buffer) => buffer.name === name);
  }

  async #listen(): Promise<void> {
    let failure: unknown;
    const heard: number[] = [];
    try {
      for await (const message of this.#channel) {
        using _ = message;
        if (message.fds.length > 0) throw wrong('news came with fds');
        const { event, buffer: index, generation } = decodeEvent(message.bytes);
        const buffer = this.buffers[index];
        if (!buffer) throw wrong(`there is no buffer ${String(index)}`);
        if (generation < (heard[index] ?? buffer.generation))
          throw wrong(`an earlier generation of buffer ${String(index)}`);
        heard[index] = generation;
        this.#tell(() => {
          buffer.state = event === 'revoked' ? 'revoked' : 'live';
          buffer.generation = generation;
          this.emit(event, buffer);
        });
      }
    } catch (error) {
      failure = error;
    }
    this.#channel.close();
    this.#tell(() => this.emit('end', failure));
  }

  /**
   * Emits events in order, unless close() is called first. An exception in a listener becomes an uncaught exception.
   */
  #tell(news: () => void): void {
    process.nextTick(() => {
      if (!this.#life.closed) news();
    });
  }

  /** Whether the client no longer receives events. */
  get closed(): boolean {
    return this.#channel.closed;
  }

  /** Closes the connection and the dma-bufs. */
  close(): void {
    this.#life.close();
  }

  /** Calls close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Checks that the received fd matches the server's description. @throws Error ERR_SHARE_PROTOCOL */
function checkBuffer(info: SharedBufferInfo, dmaBuf: DmaBuf): void {
  const { size, inode, exporterName: exporter } = dmaBuf;
  const differs = <T>(what: string, said: T, is: T, show: (value: T) => string) => {
    if (said !== is)
      throw wrong(`buffer ${JSON.stringify(info.name)} is said to have ${what} ${show(said)}, and has ${show(is)}`);
  };
  const hex = (value: bigint) => `0x${value.toString(16)}`;
  differs('size', info.size, size, hex);
  differs('inode', info.inode, inode, hex);
  if (info.exporter !== undefined) differs('exporter', info.exporter, exporter, JSON.stringify);
}
