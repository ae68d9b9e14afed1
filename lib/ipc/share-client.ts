// Takes the dma-bufs that another process serves.
import { EventEmitter } from 'node:events';
import { DmaBuf } from '../dmabuf/dma-buf';
import { codedError } from '../errors/errors';
import { expectClose, wasClosed } from '../lifetime/lost';
import { instance, options } from '../errors/validate';
import type { WaitOptions } from '../events/waits';
import { FdChannel, type ChannelOptions } from './fd-channel';
import { decodeEvent, decodeHello, mostHelloBytes, type SharedBufferInfo } from './share-protocol';

/** A dma-buf of another process's, and what that says of it. */
export interface SharedBuffer extends SharedBufferInfo {
  dmaBuf: DmaBuf;
}

/** What a {@link ShareClient} tells. */
export interface ShareClientEvents {
  /** The device has taken the buffer back: mappings of it are dead. */
  revoked: [buffer: SharedBuffer];
  /** It can be mapped again. */
  restored: [buffer: SharedBuffer];
  /** The server is gone; what it gave stays. `error`: it did not just close. */
  end: [error: unknown];
}

/** The dma-bufs that a `ShareServer` gave, and news of them. */
export class ShareClient extends EventEmitter<ShareClientEvents> {
  readonly #channel: FdChannel;
  /** In the server's order. */
  readonly buffers: readonly SharedBuffer[];
  #closed = false;

  private constructor(channel: FdChannel, buffers: readonly SharedBuffer[]) {
    super();
    this.#channel = instance(channel, 'channel', FdChannel);
    this.buffers = buffers;
    expectClose(this, 'share client');
    void this.#listen();
  }

  /**
   * Connects, and takes what is shared.
   *
   * @throws as {@link FdChannel.connect}; Error ERR_SHARE_REFUSED: the server does not serve this user, or no more of them.
   *   ERR_SHARE_PROTOCOL, ERR_SHARE_VERSION: it speaks otherwise. The signal's reason.
   */
  static async connect(path: string, opts?: Omit<ChannelOptions, 'kind'> & WaitOptions): Promise<ShareClient> {
    const { signal, ...rest } = options(opts);
    const channel = FdChannel.connect(path, { maxBytes: mostHelloBytes, ...rest, kind: 'seqpacket' });
    const buffers: SharedBuffer[] = [];
    try {
      using message = await channel.receive(signal === undefined ? {} : { signal });
      if (!message)
        throw codedError('ERR_SHARE_REFUSED', `whoever shares at ${path} serves no such user, or has enough`);
      const hello = decodeHello(message.bytes);
      if (hello.buffers.length !== message.fds.length) {
        throw codedError('ERR_SHARE_PROTOCOL', 'there is not one fd for each buffer');
      }
      for (const [i, info] of hello.buffers.entries()) {
        const dmaBuf = DmaBuf.fromFd(
          message.fds[i]?.fd ?? -1,
          rest.kernel === undefined ? {} : { kernel: rest.kernel },
        );
        buffers.push({ ...info, dmaBuf });
      }
    } catch (error) {
      for (const { dmaBuf } of buffers) dmaBuf.close();
      channel.close();
      throw error;
    }
    return new ShareClient(channel, buffers);
  }

  /** The buffer of this name. */
  find(name: string): SharedBuffer | undefined {
    return this.buffers.find((buffer) => buffer.name === name);
  }

  async #listen(): Promise<void> {
    let failure: unknown;
    try {
      for await (const message of this.#channel) {
        using _ = message;
        const { event, buffer: index, generation } = decodeEvent(message.bytes);
        const buffer = this.buffers[index];
        if (!buffer) throw codedError('ERR_SHARE_PROTOCOL', `there is no buffer ${String(index)}`);
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

  /** In this order, unless close() comes first. What a listener throws is its own affair, and uncaught. */
  #tell(news: () => void): void {
    process.nextTick(() => {
      if (!this.#closed) news();
    });
  }

  /** Whether it listens for news no more. */
  get closed(): boolean {
    return this.#channel.closed;
  }

  /** Closes the connection, and the dma-bufs. */
  close(): void {
    this.#closed = true;
    wasClosed(this);
    this.#channel.close();
    for (const { dmaBuf } of this.buffers) dmaBuf.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
