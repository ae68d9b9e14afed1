// ShareServer serves dma-bufs to other processes on a Unix socket.
import { shown } from '../addon/shown';
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

const pause = 100; // milliseconds to wait after a failed accept
const mostSaid = 65536; // bytes; longer client messages get a separate error text

/** A dma-buf to share, with its description. */
export interface ShareOffer {
  name: string;
  /** The dma-buf. It is duplicated: the caller may close its own. */
  dmaBuf: DmaBuf;
  device?: string;
  region?: number;
  ranges?: readonly DmaRange[];
}

/** Options for who is served, the limits on clients and the timeout. */
export interface ShareOptions extends Omit<ListenSocketOptions, 'kind'> {
  /** The user ids that are served. Default: this process's user and root. */
  uids?: readonly number[];
  /** Additional group ids that are served. */
  gids?: readonly number[];
  /**
   * The time in milliseconds after which a client that has read nothing of its pending messages is dropped. Default:
   * 10000. Fds in flight count against this user's RLIMIT_NOFILE and use memory of this process.
   */
  patience?: number;
  /** The maximum number of concurrent clients. Default: 64. Further clients are refused. */
  clients?: number;
  /**
   * The maximum number of clients of one user that is neither root nor this process's user. Default: a quarter of
   * `clients`, at least one.
   */
  clientsPerUser?: number;
  /**
   * The number of `clients` slots reserved for root. The same number is reserved for this process's user. Default: 1/32
   * of `clients`; at least one if `clients` is 4 or more.
   */
  reserved?: number;
}

const shareOptions = [
  ...(['uids', 'gids', 'patience', 'clients', 'clientsPerUser', 'reserved'] as const),
  ...(['kernel', 'maxBytes', 'mode', 'group', 'backlog'] as const),
];
/** The other properties of a SharedBuffer, which is accepted as an offer. */
const ofSharedBuffer = ['size', 'inode', 'exporter', 'generation', 'state'];

/** The events of a {@link ShareServer}. */
export interface ShareServerEvents {
  /** The server sent the buffers to a client. */
  connected: [peer: PeerCredentials];
  /** The server refused a client: its user is not served, or there is no free slot. */
  refused: [peer: PeerCredentials, why: string];
  /**
   * A client's connection ended: the client closed it, or the server dropped it. `error` is set if an error was the
   * cause.
   */
  gone: [peer: PeerCredentials, why: string, error?: unknown];
  /** A connection could not be accepted, for example because too many files are open. The server tries again. */
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
  /** The value of {@link FdChannel.unread} at the last check. */
  unread: number;
  /** Fires when the client has read nothing for too long. */
  patience: NodeJS.Timeout;
  /** By buffer index, the state last sent, for buffers whose state has changed since. */
  stale: Map<number, State>;
  /** Whether a message to the client is being sent. */
  busy: boolean;
}

type State = Pick<SharedBufferInfo, 'generation' | 'state'>;

/**
 * Shares dma-bufs with the processes that connect to a path. Each client receives all dma-bufs, and an event when a
 * device revokes one and when it can be mapped again. The server drops a client that sends a message or does not read;
 * other clients are not affected. For a client that reads slowly, the server keeps only the latest state of each
 * buffer.
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

  static {
    shown(this, 'closed', 'path', 'clients');
  }

  /**
   * Listens at `path` and serves `offers`.
   *
   * @throws as {@link FdServer.listen}. RangeError ERR_OUT_OF_RANGE: no buffers or more than 253, two buffers with the
   *   same name, or descriptions that do not fit in one message.
   */
  constructor(path: string, offers: readonly ShareOffer[], opts?: ShareOptions) {
    super();
    const {
      uids,
      gids = [],
      patience = 10_000,
      clients,
      clientsPerUser,
      reserved,
      ...listen
    } = options(opts, shareOptions);
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

  /** The path of the listening socket. */
  get path(): string {
    return this.#server.path;
  }

  /** The credentials of the connected clients. */
  get clients(): PeerCredentials[] {
    return Array.from(this.#clients.values(), ({ peer }) => peer);
  }

  async #accept(): Promise<void> {
    while (!this.closed) {
      try {
        this.#admit(await this.#server.accept());
      } catch (error) {
        if (this.#server.closed) return;
        // For example too many open files. The connection stays in the backlog.
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
      channel.close(); // an unauthorized client gets no message
      this.#say('refused', peer, `user ${String(peer.uid)} of group ${String(peer.gid)}`);
      return;
    }
    const users = Array.from(this.#clients.values(), (client) => client.peer.uid);
    const refused = this.#slots.refuse(peer.uid, users);
    if (refused === undefined) {
      void this.#serve(channel, peer);
      return;
    }
    // A refusal that does not fit in the socket's buffer is dropped.
    channel.send(encode({ vfioDmabufShare: shareVersion, refused })).catch(() => undefined);
    channel.close();
    this.#say('refused', peer, refused);
  }

  /** The first message. */
  get #hello(): string {
    return encode({ vfioDmabufShare: shareVersion, buffers: this.#shared.map(({ info }) => info) });
  }

  async #serve(channel: FdChannel, peer: PeerCredentials): Promise<void> {
    // Other threads may have changed a device without an event to this one. A new client must get the current state.
    this.#look();
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
      const said = await channel.peek(); // peek only: a received message may carry files
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

  /** Whether the client has read something since the last check, or has nothing left to read. */
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

  /** Emits events in order. An exception in a listener becomes an uncaught exception. */
  #say<Name extends keyof ShareServerEvents>(name: Name, ...what: ShareServerEvents[Name]): void {
    process.nextTick(() => (this as EventEmitter).emit(name, ...what));
  }

  /** Checks the devices for revoked and restored buffers. */
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

  /** Sends pending events to a client, one message at a time. State changes in the meantime affect the next message. */
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

  /** Returns the next event that updates the client's state, or undefined if it is up to date. */
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

  /** Stops serving. Clients keep the dma-bufs that they received. */
  close(): void {
    this.#life.close();
  }

  /** Calls close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Keeps each watcher alive as long as its server. */
const keepers = new WeakMap<ShareServer, Watcher>();

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

function toOffer(offer: ShareOffer): ShareOffer {
  const { name, dmaBuf, device, region, ranges } = options(
    offer,
    ['name', 'dmaBuf', 'device', 'region', 'ranges'],
    'offer',
    ofSharedBuffer,
  );
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
