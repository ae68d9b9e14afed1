// Determines whether DMA from one PCI function can access another's memory, by the kernel's rules
// (drivers/pci/p2pdma.c, Linux 7.3) and the properties in sysfs.
import { shownObject, type Shown } from '../addon/shown';
import type { PciFunction } from './function';
import { hostBridgeFunction, isKnownHostBridge } from './known-host-bridges';

/**
 * The kernel's verdict on a pair of functions.
 *
 * - `direct`: the lowest common bridge routes the DMA. It does not reach the host bridge.
 * - `host-bridge`: the DMA goes through the host bridge, which the kernel trusts to route it.
 * - `unsupported`: the DMA goes through the host bridge, which the kernel does not trust. It may work, be dropped or
 *   corrupt data. The kernel's drivers do not use such a path.
 * - `unknown`: a property that determines the verdict is not readable.
 */
export type P2pVerdict = 'direct' | 'host-bridge' | 'unsupported' | 'unknown';

/** How to improve a path. */
export interface P2pAdvice {
  /** The advice as text. */
  text: string;
  /** The parameter for the kernel's command line, if the advice is one. */
  kernelParameter: string | undefined;
  /** The disadvantage, if any. */
  cost: string | undefined;
}

/** The path between two functions, with its verdict. */
export interface P2pPath {
  from: PciFunction;
  to: PciFunction;
  verdict: P2pVerdict;
  /** The kernel's distance: the bridges up from one function and down to the other; 4 behind the same switch. */
  distance: number;
  /**
   * Every function on the path, including both ends. A path through the host bridge goes up to a root port and down
   * from one.
   */
  hops: PciFunction[];
  /** The lowest common bridge; undefined: only the host bridge is common. */
  common: PciFunction | undefined;
  /** The functions whose Access Control Services redirect the DMA to the host bridge. */
  redirects: PciFunction[];
  /** The functions that may redirect it: their Access Control Services are not readable. */
  unreadable: PciFunction[];
  /** The reason for the verdict, as a sentence. */
  reason: string;
  /** The bandwidth of the slowest link on the path, in GB/s in one direction; undefined: no link reports its speed. */
  bandwidth: number | undefined;
  /** The function below the slowest link. */
  slowest: PciFunction | undefined;
  advice: P2pAdvice[];
}

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
  readonly cpu: { vendor: string | undefined; family: number } | undefined;
  readonly hostBridges: ReadonlyMap<string, readonly PciFunction[]>;
}

/**
 * A host bridge: the functions on its bus, and for each host bridge whether DMA to its devices is routed (undefined:
 * unknown).
 */
interface Root {
  name: string;
  bus: readonly PciFunction[];
  passesOnTo: Map<Root, boolean | undefined>;
}

/**
 * A function with counts that include all functions above it. The counts of a path are the difference of two functions'
 * counts. @internal
 */
export interface Ranked {
  self: PciFunction;
  up: Ranked | undefined;
  root: Root;
  depth: number;
  redirects: number;
  unreadable: number;
}

const redirects = ({ acs }: PciFunction): boolean => acs.state === 'present' && acs.redirects;
const unreadable = ({ acs }: PciFunction): boolean => acs.state === 'unreadable';
const names = (functions: readonly PciFunction[]): string => functions.map(({ address }) => address).join(', ');

/** The kernel trusts AMD CPUs from this family on: Zen and later (arch/x86). */
const firstTrustedFamily = 0x17;

/** The P2P rules, applied to one host. @internal */
export class P2pRules {
  readonly #host: Host;
  readonly #ranks = new Map<PciFunction, Ranked>();
  readonly #roots = new Map<string, Root>();

  constructor(host: Host) {
    this.#host = host;
  }

  #root(name: string): Root {
    const known = this.#roots.get(name);
    if (known) return known;
    const root = {
      name,
      bus: this.#host.hostBridges.get(name) ?? [],
      passesOnTo: new Map<Root, boolean | undefined>(),
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
      root: up?.root ?? this.#root(self.hostBridge),
      depth: (up?.depth ?? 0) + 1,
      redirects: (up?.redirects ?? 0) + Number(redirects(self)),
      unreadable: (up?.unreadable ?? 0) + Number(unreadable(self)),
    };
    this.#ranks.set(self, rank);
    return rank;
  }

  #judgeHost(a: Root, b: Root): boolean | undefined {
    const { cpu } = this.#host;
    if (cpu?.vendor === 'AuthenticAMD' && cpu.family >= firstTrustedFamily) return true;
    const buses = [...new Set([a, b])].map(({ bus }) => bus);
    const judged = buses.map((bus) => hostBridgeFunction(bus));
    if (judged.every((root) => root && isKnownHostBridge(root, a === b))) return true;
    // A function other than 00.0 identifies the host bridge only if it is a root port, which its config space contains.
    const unsure = buses.some(
      (bus, i) => !judged[i] && bus[0]?.port === undefined && bus[0]?.acs.state === 'unreadable',
    );
    return cpu === undefined || unsure ? undefined : false;
  }

  #throughHost({ root: a }: Ranked, { root: b }: Ranked): P2pVerdict {
    if (!a.passesOnTo.has(b)) a.passesOnTo.set(b, this.#judgeHost(a, b));
    const passes = a.passesOnTo.get(b);
    if (passes === undefined) return 'unknown';
    return passes ? 'host-bridge' : 'unsupported';
  }

  /** Returns only the verdict. */
  judge(a: Ranked, b: Ranked): P2pVerdict {
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
    const distance = a.depth + b.depth - 2 * (top?.depth ?? 0);
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
      redirects: deciding.filter(redirects),
      unreadable: deciding.filter(unreadable),
    };
    const toHost = found.redirects.length > 0 || !common;
    const hops = toHost ? turn(upTo(a, undefined), upTo(b, undefined)) : turn(upward, down);
    const slowest = slowestOf(toHost ? hops : [...up, ...down]);
    const told = { ...found, hops, bandwidth: slowest?.link?.bandwidth, slowest };
    return shownObject<P2pPath>(
      { ...told, reason: this.#reason(told, toHost), advice: advise(told, toHost) },
      'P2pPath',
      ...shownOfPath,
    );
  }

  #reason(path: Omit<P2pPath, 'reason' | 'advice'>, toHost: boolean): string {
    const { from, to, common, redirects: redirecting, unreadable: hidden, verdict } = path;
    if (from === to && verdict === 'direct') return 'it is the same function';
    if (!toHost && common) {
      if (verdict === 'direct') {
        return `${common.address} is above both, and no Access Control Services on the way redirect`;
      }
      const groups = from.iommuGroup !== to.iommuGroup && from.iommuGroup !== undefined;
      return (
        `${common.address} is above both; whether Access Control Services redirect, only root can read (${names(hidden)})` +
        (groups ? '; they probably do: the two are in different IOMMU groups' : '')
      );
    }
    const why = common
      ? `Access Control Services of ${names(redirecting)} redirect it to the host bridge`
      : 'no bridge is above both but the host bridge';
    const { cpu, hostBridges } = this.#host;
    const roots = [...new Set([from.hostBridge, to.hostBridge])];
    const bridges = roots.map((name) => {
      const root = hostBridgeFunction(hostBridges.get(name) ?? []);
      const id = root ? ` (${hex4(root.vendor)}:${hex4(root.device)})` : '';
      return `${name}${id}`;
    });
    const processor = cpu ? `${cpu.vendor ?? 'this CPU'} family ${String(cpu.family)}` : 'an unknown CPU';
    const one = bridges.length === 1;
    if (verdict === 'host-bridge') {
      return `${why}, and the kernel trusts ${cpu?.vendor === 'AuthenticAMD' ? processor : bridges.join(' and ')}`;
    }
    const doubt = verdict === 'unknown' ? 'it cannot be told whether the kernel trusts' : 'the kernel trusts neither';
    const or = verdict === 'unknown' ? 'or' : 'nor';
    return `${why}, and ${doubt} ${processor} ${or} the host bridge${one ? '' : 's'} ${bridges.join(' and ')}`;
  }
}

const hex4 = (value: number): string => value.toString(16).padStart(4, '0');

/** Returns the lowest function above both, or undefined. */
function meet(a: Ranked, b: Ranked): Ranked | undefined {
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

/** The link of a root port or downstream port is the link below it, which the function there also reports. */
const leadsDown = ({ port }: PciFunction): boolean => port === 'root-port' || port === 'downstream-port';

function slowestOf(hops: readonly PciFunction[]): PciFunction | undefined {
  const linked = hops.filter((hop) => hop.link && !leadsDown(hop));
  return linked.reduce<PciFunction | undefined>(
    (least, hop) => ((hop.link?.bandwidth ?? 0) < (least?.link?.bandwidth ?? Infinity) ? hop : least),
    undefined,
  );
}

function advise(path: Omit<P2pPath, 'reason' | 'advice'>, toHost: boolean): P2pAdvice[] {
  const advice: P2pAdvice[] = [];
  const { verdict, common, redirects: redirecting, slowest, unreadable: hidden } = path;
  if (verdict === 'unknown' && hidden.length > 0) {
    advice.push({ text: 'run this as root, who may read config space', kernelParameter: undefined, cost: undefined });
  }
  if (common && redirecting.length > 0) {
    const ports = redirecting.map(({ address }) => address).join(';');
    advice.push({
      text: `switch the redirection off, and the way is direct: boot with "pci=disable_acs_redir=${ports}"`,
      kernelParameter: `pci=disable_acs_redir=${ports}`,
      cost:
        'isolation: the devices below reach each other unseen by the IOMMU, are in one IOMMU group from then on, and can ' +
        'be given to one owner only, all together',
    });
  }
  if (toHost && !common && (verdict === 'unsupported' || verdict === 'unknown')) {
    advice.push({
      text: 'put both behind one PCI Express switch: their traffic need not pass the host bridge then',
      kernelParameter: undefined,
      cost: undefined,
    });
  }
  const link = slowest?.link;
  if (slowest && link && (link.speed < link.maxSpeed || link.width < link.maxWidth)) {
    advice.push({
      text:
        `the link of ${slowest.address} runs at ${String(link.speed)} GT/s x${String(link.width)}, and it could do ` +
        `${String(link.maxSpeed)} GT/s x${String(link.maxWidth)}: see what it is plugged into, or whether it saves power`,
      kernelParameter: undefined,
      cost: undefined,
    });
  }
  return advice;
}
