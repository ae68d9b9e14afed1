// Whether DMA from one PCI function reaches another's memory: the kernel's own rules (drivers/pci/p2pdma.c, Linux 7.3),
// on what sysfs tells.
import type { PciFunction } from './function';
import { hostBridgeFunction, isKnownHostBridge } from './known-host-bridges';

/**
 * What the kernel would say of a pair.
 *
 * - `direct`: the bridge above both routes it; it does not reach the host bridge.
 * - `host-bridge`: it goes up to the host bridge and down again, and this host is known to pass it on.
 * - `unsupported`: it would go through the host bridge, and nobody vouches for this host. It may work, be dropped, or
 *   arrive wrong; the kernel's drivers refuse it.
 * - `unknown`: what decides could not be read.
 */
export type P2pVerdict = 'direct' | 'host-bridge' | 'unsupported' | 'unknown';

/** What would make a path better. */
export interface P2pAdvice {
  /** What to do. */
  text: string;
  /** For the kernel's command line, if that is it. */
  kernelParameter: string | undefined;
  /** What is lost by it. */
  cost: string | undefined;
}

/** The way between two functions, and what decides it. */
export interface P2pPath {
  from: PciFunction;
  to: PciFunction;
  verdict: P2pVerdict;
  /** The kernel's measure: bridges up from the one and down to the other, 4 behind the same switch. */
  distance: number;
  /** Every function on the way, both ends included. Through the host bridge: up to a root port, and down from one. */
  hops: PciFunction[];
  /** The lowest bridge above both; undefined: there is none but the host bridge. */
  common: PciFunction | undefined;
  /** Those whose Access Control Services send it up to the host bridge. */
  redirects: PciFunction[];
  /** Those that may do so: their Access Control Services cannot be read. */
  unreadable: PciFunction[];
  /** What decided it, as a sentence. */
  reason: string;
  /** What the slowest link on the way carries, in GB/s one way; undefined: no link tells its speed. */
  bandwidth: number | undefined;
  /** The function above which that link is. */
  slowest: PciFunction | undefined;
  advice: P2pAdvice[];
}

/** What the rules are asked of. @internal */
export interface Host {
  readonly cpu: { vendor: string | undefined; family: number } | undefined;
  readonly hostBridges: ReadonlyMap<string, readonly PciFunction[]>;
}

/** A host bridge: what is on its bus, and whether it passes DMA to another's devices on (undefined: it cannot be told). */
interface Root {
  name: string;
  bus: readonly PciFunction[];
  passesOnTo: Map<Root, boolean | undefined>;
}

/** A function with what lies above it counted, itself included: a pair's way is then a difference. @internal */
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

/** AMD's from Zen on: arch/x86 of the kernel names no others. */
const firstTrustedFamily = 0x17;

/** The rules, on one host. @internal */
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
    // What stands for a host bridge is told by its config space, unless it is function 00.0.
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

  /** The verdict alone. */
  judge(a: Ranked, b: Ranked): P2pVerdict {
    const common = meet(a, b);
    if (!common) return this.#throughHost(a, b);
    // The function above both counts, once.
    const above = common.up;
    const redirecting = a.redirects + b.redirects - common.redirects - (above?.redirects ?? 0);
    if (redirecting > 0) return this.#throughHost(a, b);
    const unsure = a.unreadable + b.unreadable - common.unreadable - (above?.unreadable ?? 0);
    return unsure > 0 ? 'unknown' : 'direct';
  }

  /** The verdict, and all that there is to say about it. */
  path(from: PciFunction, to: PciFunction): P2pPath {
    const [a, b] = [this.rank(from), this.rank(to)];
    const verdict = this.judge(a, b);
    const top = meet(a, b);
    const common = top?.self;
    const distance = a.depth + b.depth - 2 * (top?.depth ?? 0);
    const [up, down] = [upTo(a, top), upTo(b, top)];
    // The way that decides: to the function above both, if there is one.
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
    return { ...told, reason: this.#reason(told, toHost), advice: advise(told, toHost) };
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

/** The lowest function above both, or undefined. */
function meet(a: Ranked, b: Ranked): Ranked | undefined {
  let [x, y]: [Ranked | undefined, Ranked | undefined] = [a, b];
  while (x && y && x !== y) {
    if (x.depth >= y.depth) x = x.up;
    else y = y.up;
  }
  return x && y;
}

/** From a function up to below `end`; to the top if there is none. */
function upTo(self: Ranked, end: Ranked | undefined): PciFunction[] {
  const way: PciFunction[] = [];
  for (let at: Ranked | undefined = self; at && at !== end; at = at.up) way.push(at.self);
  return way;
}

/** Up, and down again. The same root port both ways is one hop. */
function turn(up: readonly PciFunction[], down: readonly PciFunction[]): PciFunction[] {
  return [...up, ...[...down].reverse()].filter((hop, i, all) => hop !== all[i - 1]);
}

/** Ports that lead down tell of the link below them, which what is there tells as well. */
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
