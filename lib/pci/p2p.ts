// Determines whether DMA from one PCI function can access another's memory, by the kernel's rules
// (drivers/pci/p2pdma.c, Linux 7.3) and the properties in sysfs.
import { shownObject, type Shown } from '../addon/shown';
import type { PciFunction } from './function';
import { gapText, type PciGap } from './gap';
import { hostTrust, type Cpu, type HostTrust } from './host-trust';
import { advise } from './p2p-advice';
import type { P2pPath, P2pVerdict } from './p2p-path';
import { linkAbove } from './uplink';
import type { PciLink } from './link';

const addresses = (functions: readonly PciFunction[]) => functions.map(({ address }) => address);

/** What people see of a path: the functions by their addresses. */
const shownOfPath: readonly Shown<P2pPath>[] = [
  ...(['verdict', 'reason', 'distance', 'bandwidth'] as const),
  ['from', ({ from }) => from.address],
  ['to', ({ to }) => to.address],
  ['hops', ({ hops }) => addresses(hops)],
  ['common', ({ common }) => common?.address],
  ['redirects', ({ redirects }) => addresses(redirects)],
  ['unreadable', ({ unreadable }) => addresses(unreadable)],
  ['slowest', ({ slowest }) => slowest?.address],
  'advice',
];

/** The host's properties that the rules depend on. @internal */
export interface Host {
  readonly cpu: Cpu | undefined;
  readonly hostBridges: ReadonlyMap<string, readonly PciFunction[]>;
}

/** A host bridge: the functions on its bus, and for each host bridge whether DMA to its devices is routed. */
interface Root {
  name: string;
  bus: readonly PciFunction[];
  passesOnTo: Map<Root, HostTrust>;
}

/**
 * A function with counts that include all functions above it. The counts of a path are the difference of two functions'
 * counts. @internal
 */
export interface Ranked {
  self: PciFunction;
  up: Ranked | undefined;
  /** The function above it, or itself, that is on the root bus. */
  top: PciFunction;
  root: Root;
  depth: number;
  redirects: number;
  unreadable: number;
  /** The functions that do not respond. */
  silent: number;
}

const unreadable = ({ acs }: PciFunction): boolean => acs.state === 'unreadable';
const names = (functions: readonly PciFunction[]): string => functions.map(({ address }) => address).join(', ');
const has = ({ gaps }: PciFunction, ...kinds: PciGap['what'][]): boolean =>
  gaps.some(({ what }) => kinds.includes(what));
/** Whether nothing can be said about the paths of a device. */
const isLost = (device: PciFunction): boolean => has(device, 'function', 'response', 'place');

/** The P2P rules, applied to one host. @internal */
export class P2pRules {
  readonly #host: Host;
  readonly #off: ReadonlySet<PciFunction>;
  readonly #ranks = new Map<PciFunction, Ranked>();
  readonly #roots = new Map<string, Root>();

  /** @param off functions that are taken not to redirect */
  constructor(host: Host, off: ReadonlySet<PciFunction> = new Set()) {
    this.#host = host;
    this.#off = off;
  }

  #redirects(self: PciFunction): boolean {
    return self.acs.state === 'present' && self.acs.redirects && !this.#off.has(self);
  }

  #root(name: string): Root {
    const known = this.#roots.get(name);
    if (known) return known;
    const root = {
      name,
      bus: this.#host.hostBridges.get(name) ?? [],
      passesOnTo: new Map<Root, HostTrust>(),
    };
    this.#roots.set(name, root);
    return root;
  }

  rank(self: PciFunction): Ranked {
    const known = this.#ranks.get(self);
    if (known) return known;
    const up = self.parent && this.rank(self.parent);
    const rank = {
      self,
      up,
      top: up?.top ?? self,
      root: up?.root ?? this.#root(self.hostBridge),
      depth: (up?.depth ?? 0) + 1,
      redirects: (up?.redirects ?? 0) + Number(this.#redirects(self)),
      unreadable: (up?.unreadable ?? 0) + Number(unreadable(self)),
      silent: (up?.silent ?? 0) + Number(has(self, 'response')),
    };
    this.#ranks.set(self, rank);
    return rank;
  }

  #trust(a: Root, b: Root): HostTrust {
    const known = a.passesOnTo.get(b);
    if (known) return known;
    const trust = hostTrust(this.#host.cpu, a, b);
    a.passesOnTo.set(b, trust);
    return trust;
  }

  #throughHost(a: Ranked, b: Ranked): P2pVerdict {
    const { passes } = this.#trust(a.root, b.root);
    if (passes === undefined || a.silent + b.silent > 0) return 'unknown';
    return passes ? 'host-bridge' : 'unsupported';
  }

  /** Returns only the verdict. */
  judge(a: Ranked, b: Ranked): P2pVerdict {
    if (isLost(a.self) || isLost(b.self)) return 'unknown';
    const common = meet(a, b);
    if (!common) return this.#throughHost(a, b);
    // The counts of both include the common function; count it once.
    const above = common.up;
    const redirecting = a.redirects + b.redirects - common.redirects - (above?.redirects ?? 0);
    if (redirecting > 0) return this.#throughHost(a, b);
    const unsure = a.unreadable + b.unreadable - common.unreadable - (above?.unreadable ?? 0);
    return unsure > 0 ? 'unknown' : 'direct';
  }

  /** Returns the verdict with the full description of the path. */
  path(from: PciFunction, to: PciFunction): P2pPath {
    const [a, b] = [this.rank(from), this.rank(to)];
    const verdict = this.judge(a, b);
    const top = meet(a, b);
    const common = top?.self;
    const placed = !has(from, 'place') && !has(to, 'place');
    const distance = placed ? a.depth + b.depth - 2 * (top?.depth ?? 0) : undefined;
    const [up, down] = [upTo(a, top), upTo(b, top)];
    // The part that determines the verdict: up to the common function, if there is one.
    const upward = common ? [...up, common] : up;
    const deciding = [...upward, ...down];
    const found = {
      from,
      to,
      verdict,
      distance,
      common,
      redirects: deciding.filter((found) => this.#redirects(found)),
      unreadable: deciding.filter(unreadable),
    };
    const toHost = found.redirects.length > 0 || !common;
    const hops = toHost ? turn(upTo(a, undefined), upTo(b, undefined)) : turn(upward, down);
    const slowest = slowestOf(toHost ? hops : [...up, ...down]);
    const told = { ...found, hops, bandwidth: slowest?.link.bandwidth, slowest: slowest?.below };
    return shownObject<P2pPath>(
      { ...told, reason: this.#reason(told, a, b, toHost), advice: advise(told, toHost) },
      'P2pPath',
      ...shownOfPath,
    );
  }

  #reason(path: Omit<P2pPath, 'reason' | 'advice'>, a: Ranked, b: Ranked, toHost: boolean): string {
    const { from, to, common, redirects: redirecting, unreadable: hidden, hops, verdict } = path;
    if (isLost(from) || isLost(to)) return gapText([...new Set([from, to])].filter(isLost));
    if (from === to && verdict === 'direct') return 'it is the same function';
    if (!toHost && common) {
      if (verdict === 'direct') {
        return `${common.address} is above both, and no Access Control Services on the way redirect`;
      }
      const groups = from.iommuGroup !== to.iommuGroup && from.iommuGroup !== undefined;
      return (
        `${common.address} is above both; whether Access Control Services redirect is not known (${gapText(hidden)})` +
        (groups ? '; they probably do: the two are in different IOMMU groups' : '')
      );
    }
    const why = common
      ? `Access Control Services of ${names(redirecting)} redirect it to the host bridge`
      : 'no bridge is above both but the host bridge';
    const silent = hops.filter((hop) => has(hop, 'response'));
    if (silent.length > 0) return `${why}, and there is a bridge that does not respond (${gapText(silent)})`;
    return `${why}, and ${this.#trust(a.root, b.root).reason}`;
  }
}

/** Returns the lowest function above both, or undefined. */
function meet(a: Ranked, b: Ranked): Ranked | undefined {
  if (a.top !== b.top) return undefined;
  let [x, y]: [Ranked | undefined, Ranked | undefined] = [a, b];
  while (x && y && x !== y) {
    if (x.depth >= y.depth) x = x.up;
    else y = y.up;
  }
  return x && y;
}

/** Returns the functions from `self` up to below `end`, or to the top if `end` is undefined. */
function upTo(self: Ranked, end: Ranked | undefined): PciFunction[] {
  const way: PciFunction[] = [];
  for (let at: Ranked | undefined = self; at && at !== end; at = at.up) way.push(at.self);
  return way;
}

/** Joins the path up and the path down. A root port in both is listed once. */
function turn(up: readonly PciFunction[], down: readonly PciFunction[]): PciFunction[] {
  return [...up, ...[...down].reverse()].filter((hop, i, all) => hop !== all[i - 1]);
}

/** Returns the slowest of the links above these functions, and the function below it. */
function slowestOf(hops: readonly PciFunction[]): { below: PciFunction; link: PciLink } | undefined {
  let slowest: { below: PciFunction; link: PciLink } | undefined;
  for (const below of hops) {
    const link = linkAbove(below);
    if (link && link.bandwidth < (slowest?.link.bandwidth ?? Infinity)) slowest = { below, link };
  }
  return slowest;
}
