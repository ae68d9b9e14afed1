// Serves dma-bufs to other processes on a Unix socket.
import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaBuf } from '../dmabuf/dma-buf';
import type { Watcher } from '../kernel/kernel';
import { Lifetime, type End } from '../lifetime/lifetime';
import type { DmaRange } from '../vfio/export';
import { array, instance, integer, options, outOfRange, string, u64 } from '../errors/validate';
import type { FdChannel, PeerCredentials } from './fd-channel';
import { FdServer, type ListenSocketOptions } from './fd-server';
import {
  encode,
  mostBuffers,
  mostHelloBytes,
  shareVersion,
  type SharedBufferInfo,
  type ShareEvent,
} from './share-protocol';
import { Slots } from './slots';

const pause = 100; // milliseconds, after a failure
const mostSaid = 65536; // bytes: more of a client than that is told apart

/** A dma-buf to share, and what to say of it. */
export interface ShareOffer {
  name: string;
  /** It is duplicated: it may be closed. */
  dmaBuf: DmaBuf;
  device?: string;
  region?: number;
  ranges?: readonly DmaRange[];
}

/** Who is served, and how long one is waited for. */
export interface ShareOptions extends Omit<ListenSocketOptions, 'kind'> {
  /** User ids that are served; default: this process's, and root. */
  uids?: readonly number[];
  /** Group ids that are served besides. */
  gids?: readonly number[];
  /**
   * How long a client may read nothing of what it was sent, before it is dropped, in milliseconds: 10000 unless told. Fds on
   * their way count against this user's RLIMIT_NOFILE, and against this process's memory.
   */
  patience?: number;
  /** How many at once: 64 unless told. Others are refused. */
  clients?: number;
  /** How many of one user, which is neither root nor this process's: a quarter of `clients` unless told, at least one. */
  clientsPerUser?: number;
  /**
   * How many of `clients` are kept for root, and as many more for this process's user: a 32nd of `clients` unless told; at
   * least one, where there are four clients or more.
   */
  reserved?: number;
}

/** What a {@link ShareServer} tells. */
export interface ShareServerEvents {
  /** A client was given the buffers. */
  connected: [peer: PeerCredentials];
  /** Somebody was not: a user that is not served, or too many. */
  refused: [peer: PeerCredentials, why: string];
  /** A client is gone: it closed, or was dropped for what it did, or for the error. */
  gone: [peer: PeerCredentials, why: string, error?: unknown];
  /** Somebody could not be let in, for want of something here; it is tried again. */
  failed: [error: unknown];
}

interface Shared {
  dmaBuf: DmaBuf;
  info: SharedBufferInfo;
  revocations: number;
  mappable: boolean;
}

interface Client {
  peer: PeerCredentials;
  /** What it had not read when that was looked at last ({@link FdChannel.unread}). */
  unread: number;
  /** Goes off when it has read nothing for too long. */
  patience: NodeJS.Timeout;
  /** By buffer, what it was told last, where that is not the latest: the news that wait to be sent. */
  stale: Map<number, State>;
  /** Whether a message to it is on its way. */
  busy: boolean;
}

type State = Pick<SharedBufferInfo, 'generation' | 'state'>;

/**
 * Shares dma-bufs with the processes that connect to a path. Each gets all of them, and is told when a device takes one back
 * and when it can be mapped again. A client that says anything, or reads nothing, is dropped; the others do not notice. For a
 * client that reads slowly only the latest state of each buffer is kept.
 */
export class ShareServer extends EventEmitter<ShareServerEvents> {
  readonly #server: FdServer;
  readonly #shared: Shared[];
  readonly #settings: { uids: readonly number[]; gids: readonly number[]; patience: number };
  readonly #slots: Slots;
  readonly #clients = new Map<FdChannel, Client>();
  readonly #watcher: WeakRef<Watcher>;
  readonly #accepting: Promise<void>;
  readonly #life: Lifetime;

  static readonly #end: End<ShareServer> = {
    what: 'share server',
    close: (server) => {
      server.#server.close();
      for (const channel of [...server.#clients.keys()]) server.#drop(channel, 'the server closed');
      for (const { dmaBuf } of server.#shared) {
        dmaBuf.kernel.watchers.delete(server.#watcher);
        dmaBuf.close();
      }
      keepers.delete(server);
      server.#accepting.catch(() => undefined);
    },
  };

  /**
   * @throws as {@link FdServer.listen}; RangeError ERR_OUT_OF_RANGE: more than 253 buffers, or none; two of one name; more to say of
   *   them than a message holds.
   */
  constructor(path: string, offers: readonly ShareOffer[], opts?: ShareOptions) {
    super();
    const { uids, gids = [], patience = 10_000, clients, clientsPerUser, reserved, ...listen } = options(opts);
    this.#slots = new Slots({ clients, clientsPerUser, reserved });
    this.#settings = {
      uids: array(uids ?? [0, process.geteuid?.() ?? 0], 'uids').map((id) => integer(id, 'uids', 0, 0xffff_ffff)),
      gids: array(gids, 'gids').map((id) => integer(id, 'gids', 0, 0xffff_ffff)),
      patience: integer(patience, 'patience', 1, 0x7fff_ffff),
    };
    const wanted = array(offers, 'offers').map((offer) => toOffer(offer));
    integer(wanted.length, 'offers.length', 1, mostBuffers);
    const names = wanted.map(({ name }) => name);
    if (new Set(names).size < names.length) throw outOfRange('offers', 'of different names', names.join(', '));
    this.#shared = [];
    try {
      for (const offer of wanted) this.#shared.push(share(offer));
      const bytes = Buffer.byteLength(this.#hello);
      if (bytes > mostHelloBytes) {
        throw outOfRange('offers', `described in ${String(mostHelloBytes)} bytes of JSON`, bytes);
      }
      this.#server = FdServer.listenWithoutFds(path, { ...listen, kind: 'seqpacket' });
    } catch (error) {
      for (const { dmaBuf } of this.#shared) dmaBuf.close();
      throw error;
    }
    const watcher: Watcher = { lookAtMappings: () => this.#look() };
    this.#watcher = new WeakRef(watcher);
    keepers.set(this, watcher);
    for (const { dmaBuf } of this.#shared) dmaBuf.kernel.watchers.add(this.#watcher);
    this.#life = new Lifetime(this, ShareServer.#end);
    this.#accepting = this.#accept();
  }

  /** Where it listens. */
  get path(): string {
    return this.#server.path;
  }

  /** Who is served now. */
  get clients(): PeerCredentials[] {
    return Array.from(this.#clients.values(), ({ peer }) => peer);
  }

  async #accept(): Promise<void> {
    while (!this.closed) {
      try {
        this.#admit(await this.#server.accept());
      } catch (error) {
        if (this.#server.closed) return;
        // Too many open files, for one: who waits to be let in still does.
        this.#say('failed', error);
        await sleep(pause, undefined, { ref: false });
      }
    }
  }

  #admit(channel: FdChannel): void {
    const { uids, gids } = this.#settings;
    let peer: PeerCredentials;
    try {
      ({ peer } = channel);
    } catch (error) {
      channel.close();
      throw error;
    }
    const known = uids.includes(peer.uid) || [peer.gid, ...peer.groups].some((gid) => gids.includes(gid));
    if (!known) {
      channel.close(); // a stranger is told nothing
      this.#say('refused', peer, `user ${String(peer.uid)} of group ${String(peer.gid)}`);
      return;
    }
    const users = Array.from(this.#clients.values(), (client) => client.peer.uid);
    const refused = this.#slots.refuse(peer.uid, users);
    if (refused === undefined) {
      void this.#serve(channel, peer);
      return;
    }
    channel.send(encode({ vfioDmabufShare: shareVersion, refused })).catch(() => undefined); // now, or never
    channel.close();
    this.#say('refused', peer, refused);
  }

  /** The first message. */
  get #hello(): string {
    return encode({ vfioDmabufShare: shareVersion, buffers: this.#shared.map(({ info }) => info) });
  }

  async #serve(channel: FdChannel, peer: PeerCredentials): Promise<void> {
    this.#look(); // another thread's doing is not told: what a new client is told must be true all the same
    const patience = setTimeout(() => this.#dropIfItStalls(channel), this.#settings.patience).unref();
    const client = { peer, unread: 0, patience, stale: new Map<number, State>(), busy: true };
    this.#clients.set(channel, client);
    let [why, failure]: [string, unknown] = ['it closed', undefined];
    try {
      await this.#send(
        channel,
        this.#hello,
        this.#shared.map(({ dmaBuf }) => dmaBuf),
      );
      this.#say('connected', peer);
      client.busy = false;
      void this.#tell(channel, client);
      const said = await channel.peek(); // what it said is not taken: files may have come with it
      if (said)
        why = said.size > mostSaid ? `a message of more than ${String(mostSaid)} bytes came` : 'it said something';
    } catch (error) {
      [why, failure] = [messageOf(error), error];
    }
    this.#drop(channel, why, failure);
  }

  async #send(channel: FdChannel, text: string, fds: readonly DmaBuf[]): Promise<void> {
    this.#hasRead(channel);
    await channel.send(text, fds, { signal: AbortSignal.timeout(this.#settings.patience) });
    const client = this.#clients.get(channel);
    if (client) client.unread = channel.unread;
  }

  /** Whether a client has read all, or at least something since the last look. */
  #hasRead(channel: FdChannel): boolean {
    const client = this.#clients.get(channel);
    const { unread } = channel;
    const reads = unread === 0 || unread < (client?.unread ?? 0);
    if (client && reads) {
      client.unread = unread;
      client.patience.refresh();
    }
    return reads;
  }

  #dropIfItStalls(channel: FdChannel): void {
    try {
      if (!this.#hasRead(channel)) this.#drop(channel, 'it does not read');
    } catch (error) {
      this.#drop(channel, messageOf(error), error);
    }
  }

  #drop(channel: FdChannel, why: string, error?: unknown): void {
    const client = this.#clients.get(channel);
    if (!client) return;
    this.#clients.delete(channel);
    clearTimeout(client.patience);
    channel.close();
    this.#say('gone', client.peer, why, error);
  }

  /** In this order. What a listener throws is its own affair, and uncaught. */
  #say<Name extends keyof ShareServerEvents>(name: Name, ...what: ShareServerEvents[Name]): void {
    process.nextTick(() => (this as EventEmitter).emit(name, ...what));
  }

  /** What the devices did. */
  #look(): void {
    for (const [buffer, shared] of this.#shared.entries()) {
      const { exported } = shared.dmaBuf;
      if (!exported) continue;
      const { revocations, mappable } = exported;
      const revoked = revocations !== shared.revocations;
      const restored = mappable && (revoked || !shared.mappable);
      const { generation, state } = shared.info;
      Object.assign(shared, { revocations, mappable });
      shared.info.state = mappable ? 'live' : 'revoked';
      if (!revoked && !restored) continue;
      if (revoked) shared.info.generation += 1;
      for (const { stale } of this.#clients.values()) if (!stale.has(buffer)) stale.set(buffer, { generation, state });
    }
    for (const [channel, client] of [...this.#clients]) void this.#tell(channel, client);
  }

  /** Sends a client its news, one message after the other. What happens meanwhile changes what it is told next. */
  async #tell(channel: FdChannel, client: Client): Promise<void> {
    if (client.busy) return;
    client.busy = true;
    try {
      for (let event = this.#nextEvent(client); event; event = this.#nextEvent(client)) {
        await this.#send(channel, encode(event), []);
      }
    } catch (error) {
      this.#drop(channel, messageOf(error), error);
    }
    client.busy = false;
  }

  /** The next message that brings a client nearer to what is, or undefined. */
  #nextEvent({ stale }: Client): ShareEvent | undefined {
    for (const [buffer, told] of stale) {
      const now = this.#shared[buffer]?.info ?? told;
      if (told.generation !== now.generation) {
        const { generation } = now;
        stale.set(buffer, { generation, state: 'revoked' });
        return { event: 'revoked', buffer, generation };
      }
      stale.delete(buffer);
      if (told.state !== now.state) {
        return { event: now.state === 'live' ? 'restored' : 'revoked', buffer, generation: now.generation };
      }
    }
    return undefined;
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#life.closed;
  }

  /** Stops serving. What clients have stays theirs. */
  close(): void {
    this.#life.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** A watcher lives as long as its server. */
const keepers = new WeakMap<ShareServer, Watcher>();

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

function toOffer(offer: ShareOffer): ShareOffer {
  const { name, dmaBuf, device, region, ranges } = options(offer, 'offer');
  return {
    name: string(name, 'name'),
    dmaBuf: instance(dmaBuf, 'dmaBuf', DmaBuf),
    ...(device === undefined ? {} : { device: string(device, 'device') }),
    ...(region === undefined ? {} : { region: integer(region, 'region', 0, 0xffff_ffff) }),
    ...(ranges === undefined ? {} : { ranges: array(ranges, 'ranges') }),
  };
}

function share(offer: ShareOffer): Shared {
  const dmaBuf = DmaBuf.fromFd(offer.dmaBuf.fd, { kernel: offer.dmaBuf.kernel });
  try {
    return describe(dmaBuf, offer);
  } catch (error) {
    dmaBuf.close();
    throw error;
  }
}

function describe(dmaBuf: DmaBuf, { name, device, region, ranges }: ShareOffer): Shared {
  const { exported, size, inode, exporterName: exporter } = dmaBuf;
  const parts = ranges?.map(({ offset, length }) => ({ offset: u64(offset, 'offset'), length: u64(length, 'length') }));
  return {
    dmaBuf,
    info: {
      ...{ name, device, region, ranges: parts, size, inode, exporter, generation: 0 },
      state: exported?.mappable === false ? 'revoked' : 'live',
    },
    revocations: exported?.revocations ?? 0,
    mappable: exported?.mappable ?? true,
  };
}
