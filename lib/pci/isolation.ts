// The IOMMU groups that Linux makes of a host's functions, by its rule (pci_device_group() of drivers/iommu/iommu.c and
// pci_acs_enabled() of drivers/pci/pci.c, Linux 7.3, without the exceptions for certain devices).
import type { PciFunction } from './function';

type Tree = ReadonlyMap<string, readonly PciFunction[]>;
/** A group is represented by its first function. */
type Groups = Map<PciFunction, PciFunction>;

/** The services that a group's boundary needs, as far as the function has them (REQ_ACS_FLAGS). */
const required = ['sourceValidation', 'requestRedirect', 'completionRedirect', 'upstreamForwarding'] as const;
const cleared: readonly string[] = ['requestRedirect', 'completionRedirect'];

/** Whether the function keeps DMA between others from passing it. `off`: the functions without redirection. */
function isolates(self: PciFunction, off: ReadonlySet<PciFunction>): boolean {
  const { port, multifunction, acs } = self;
  if (port === undefined || port === 'pcie-to-pci-bridge' || port === 'pci-to-pcie-bridge') return false;
  if (port === 'root-complex-event-collector') return false;
  const isPort = port === 'root-port' || port === 'downstream-port';
  if (!isPort && multifunction !== true) return true;
  if (acs.state !== 'present') return false;
  const { capability } = acs;
  return required.every((name) => {
    const { supported, enabled } = capability[name];
    return !supported || (enabled && !(off.has(self) && cleared.includes(name)));
  });
}

/** Whether DMA of devices below this function reaches the host bridge before it can reach any other device. */
function isolatesUp(self: PciFunction, off: ReadonlySet<PciFunction>): boolean {
  for (let at: PciFunction | undefined = self; at; at = at.parent) if (!isolates(at, off)) return false;
  return true;
}

/** Whether functions below the bridge have its requester ID: a bridge to conventional PCI. */
const hidesRequesters = ({ port }: PciFunction): boolean =>
  port === undefined || port === 'pcie-to-pci-bridge' || port === 'pci-to-pcie-bridge';

const slotOf = ({ address }: PciFunction): string => address.replace(/\.[0-7]$/, '');

function groupOf(self: PciFunction, groups: Groups, siblings: readonly PciFunction[], off: ReadonlySet<PciFunction>) {
  for (let bridge = self.parent; bridge; bridge = bridge.parent) {
    if (hidesRequesters(bridge)) return groups.get(bridge) ?? self;
  }
  const { parent } = self;
  if (parent && !isolatesUp(parent, off)) return groups.get(parent) ?? self;
  if (self.multifunction !== true || isolates(self, off)) return self;
  const other = siblings.find((found) => groups.has(found) && slotOf(found) === slotOf(self) && !isolates(found, off));
  return (other && groups.get(other)) ?? self;
}

/** Returns the groups by Linux's rule, if these functions did not redirect. */
function groupsWithout(hostBridges: Tree, off: ReadonlySet<PciFunction>): Groups {
  const groups: Groups = new Map();
  const visit = (bus: readonly PciFunction[]): void => {
    for (const self of bus) groups.set(self, groupOf(self, groups, bus, off));
    for (const self of bus) visit(self.children);
  };
  for (const bus of hostBridges.values()) visit(bus);
  return groups;
}

/** An IOMMU group as it would be. */
export interface FutureGroup {
  /** The numbers of the groups that it is made of. More than one: they are merged. */
  from: number[];
  functions: PciFunction[];
}

/**
 * Returns the IOMMU groups of a host if these functions did not redirect. Groups only grow by that, so the rule says
 * which of the actual groups merge; what certain devices have as exceptions is in the actual groups.
 *
 * @internal
 */
export function futureGroups(hostBridges: Tree, off: ReadonlySet<PciFunction>): FutureGroup[] {
  const before = groupsWithout(hostBridges, new Set());
  const after = groupsWithout(hostBridges, off);
  const merged = new Map<number, number>();
  const rootOf = (group: number): number => {
    const up = merged.get(group);
    return up === undefined ? group : rootOf(up);
  };
  for (const [self, first] of after) {
    const [a, b] = [self.iommuGroup, first.iommuGroup];
    if (a === undefined || b === undefined || before.get(self) === before.get(first)) continue;
    const [one, other] = [rootOf(a), rootOf(b)];
    if (one !== other) merged.set(Math.max(one, other), Math.min(one, other));
  }
  const found = new Map<number, FutureGroup>();
  for (const self of after.keys()) {
    if (self.iommuGroup === undefined) continue;
    const root = rootOf(self.iommuGroup);
    const group = found.get(root) ?? { from: [], functions: [] };
    if (!group.from.includes(self.iommuGroup)) group.from.push(self.iommuGroup);
    group.functions.push(self);
    found.set(root, group);
  }
  return [...found.values()].map(({ from, functions }) => ({ from: from.sort((a, b) => a - b), functions }));
}

/** Returns the groups that the rule makes of the host as it is: to check the rule. @internal */
export function ruledGroups(hostBridges: Tree): PciFunction[][] {
  const found = new Map<PciFunction, PciFunction[]>();
  for (const [self, first] of groupsWithout(hostBridges, new Set()))
    found.set(first, [...(found.get(first) ?? []), self]);
  return [...found.values()];
}
