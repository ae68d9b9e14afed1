// The smallest change to a host that makes a set of devices reach each other directly, and what it gives up.
import { pathOf, toMatcher } from './device-pattern';
import type { PciFunction } from './function';
import { hostNotes, type P2pNote } from './host-notes';
import { futureGroups, type FutureGroup } from './isolation';
import { redirectionOff } from './kernel-command-line';
import { P2pRules, type Host } from './p2p';
import type { P2pVerdict } from './p2p-path';
import { isolationCost } from './p2p-advice';

/** Two devices that the change does not make direct. */
export interface IndirectPair {
  from: PciFunction;
  to: PciFunction;
  /** The verdict after the change. */
  verdict: P2pVerdict;
  reason: string;
}

/** What makes a set of devices reach each other directly, as far as their slots allow it. */
export interface HostAdvice {
  devices: PciFunction[];
  /** The functions whose redirection must be off. No smaller set does it. Empty: nothing to change. */
  ports: PciFunction[];
  /**
   * The kernel parameter for that, with paths, which renumbered buses do not change. It includes the devices that the
   * present command line names.
   */
  kernelParameter: string | undefined;
  /** The disadvantage of the change. */
  cost: string | undefined;
  /** Other devices that any of the devices reaches directly after the change, and not before. */
  exposed: PciFunction[];
  /** The IOMMU groups of the devices after the change. */
  groups: FutureGroup[];
  /** The pairs that stay indirect or unknown: no port can change that. */
  indirect: IndirectPair[];
  /**
   * Moves that would make these pairs direct: the device, and free ports below the root port that most of the others are
   * below. The ports are the same for all.
   */
  moves: { device: PciFunction; ports: PciFunction[] }[];
  /** What else slows these devices down, or decides what they can do. */
  notes: P2pNote[];
}

interface Described extends Host {
  readonly functions: ReadonlyMap<string, PciFunction>;
  readonly commandLine: string | undefined;
}

const topOf = (self: PciFunction): PciFunction => (self.parent ? topOf(self.parent) : self);
const below = (self: PciFunction): PciFunction[] => [self, ...self.children.flatMap(below)];

function pairsOf(devices: readonly PciFunction[]): [PciFunction, PciFunction][] {
  return devices.flatMap((from, i) => devices.slice(i + 1).map((to): [PciFunction, PciFunction] => [from, to]));
}

/** The free ports for the devices that are not below the same root port as most of the others. */
function movesOf(devices: readonly PciFunction[]): HostAdvice['moves'] {
  const homes = new Map<PciFunction, PciFunction[]>();
  for (const device of devices) homes.set(topOf(device), [...(homes.get(topOf(device)) ?? []), device]);
  const [home, ...others] = [...homes].sort(([, a], [, b]) => b.length - a.length);
  if (!home || others.length === 0) return [];
  const free = below(home[0]).filter(({ port, children }) => port === 'downstream-port' && children.length === 0);
  return others.flatMap(([, moved]) => moved).map((device) => ({ device, ports: free }));
}

/** Returns the entries of the present command line that name devices of this host. */
function presentEntries({ commandLine = '', functions }: Described): string[] {
  return redirectionOff(commandLine).filter((pattern) => {
    const matches = toMatcher(pattern);
    return matches !== undefined && [...functions.values()].some(matches);
  });
}

/** @internal */
export function adviseHost(
  host: Described,
  devices: readonly PciFunction[],
  isDevice: (one: PciFunction) => boolean,
): HostAdvice {
  const now = new P2pRules(host);
  const pairs = pairsOf(devices);
  const ports = new Set(
    pairs.map(([from, to]) => now.path(from, to)).flatMap(({ common, redirects }) => (common ? redirects : [])),
  );
  const then = new P2pRules(host, ports);
  const indirect = pairs
    .map(([from, to]) => then.path(from, to))
    .filter(({ verdict }) => verdict !== 'direct')
    .map(({ from, to, verdict, reason }) => ({ from, to, verdict, reason }));
  const exposed = [...host.functions.values()].filter(
    (one) =>
      isDevice(one) &&
      !devices.includes(one) &&
      devices.some((device) => {
        const [a, b] = [now.judge(now.rank(device), now.rank(one)), then.judge(then.rank(device), then.rank(one))];
        return a !== 'direct' && b === 'direct';
      }),
  );
  const entries = [...new Set([...presentEntries(host), ...[...ports].map(pathOf)])];
  const changes = ports.size > 0;
  return {
    devices: [...devices],
    ports: [...ports],
    kernelParameter: changes ? `pci=disable_acs_redir=${entries.join(';')}` : undefined,
    cost: changes ? isolationCost : undefined,
    exposed,
    groups: futureGroups(host.hostBridges, ports).filter(({ functions }) =>
      functions.some((one) => devices.includes(one)),
    ),
    indirect,
    moves: movesOf(devices.filter((device) => indirect.some(({ from, to }) => from === device || to === device))),
    notes: hostNotes(devices, indirect),
  };
}
