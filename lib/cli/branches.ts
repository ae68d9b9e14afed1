// Builds the tree of a host with the P2P verdicts. A pair's verdict is stored at the node where the paths of its
// devices join. Many pairs share a node.
import type { PciFunction } from '../pci/function';
import type { P2pVerdict } from '../pci/p2p-path';
import type { P2pMatrix } from '../pci/p2p-matrix';
import type { PciTopology } from '../pci/topology';

/** A node of the tree: the host, a host bridge, or a function. */
export interface Branch {
  /** The host bridge's name or the function's address; '' for the host. */
  name: string;
  /** The names of all that this node stands for; more than one where nodes that are alike were combined. */
  names: string[];
  /** The function; undefined for the host and for host bridges. */
  self: PciFunction | undefined;
  branches: Branch[];
  /** The devices at this node and below, as indices of the matrix. */
  devices: number[];
  /** The distinct verdicts on the pairs whose paths join at this node; empty if there are none. */
  verdicts: P2pVerdict[];
}

/** Returns the number of each device's group: the verdict on two devices depends only on their groups. */
export function groupNumbers(matrix: P2pMatrix): number[] {
  const numbers: number[] = [];
  for (const [number, { devices }] of matrix.groups().entries()) for (const device of devices) numbers[device] = number;
  return numbers;
}

/** Returns the distinct verdicts on pairs of a device of one list and one of another. */
export function verdictsBetween(
  lists: readonly (readonly number[])[],
  matrix: P2pMatrix,
  groups: readonly number[],
): P2pVerdict[] {
  const found = new Set<P2pVerdict>();
  // One device of each group is enough.
  const before = new Map<number, number>();
  for (const devices of lists) {
    const own = new Map(devices.map((device) => [groups[device] ?? -1, device]));
    for (const i of own.values()) for (const j of before.values()) found.add(matrix.verdict(i, j));
    for (const [group, device] of own) before.set(group, device);
  }
  return [...found].sort();
}

/** Returns the tree of the whole host. */
export function toBranches({ hostBridges }: PciTopology, matrix: P2pMatrix): Branch {
  const groups = groupNumbers(matrix);
  const indices = new Map(matrix.devices.map((device, i) => [device, i]));
  const join = (name: string, self: PciFunction | undefined, branches: Branch[]): Branch => {
    const index = self && indices.get(self);
    const own = index === undefined ? [] : [index];
    const devices = [...own, ...branches.flatMap((branch) => branch.devices)];
    return {
      name,
      names: [name],
      self,
      branches,
      devices,
      verdicts: verdictsBetween(
        branches.map((branch) => branch.devices),
        matrix,
        groups,
      ),
    };
  };
  const toBranch = (self: PciFunction): Branch => join(self.address, self, self.children.map(toBranch));
  return join(
    '',
    undefined,
    [...hostBridges].map(([name, functions]) => join(name, undefined, functions.map(toBranch))),
  );
}

/** Removes branches that contain no device of the matrix, except those that are kept. */
export function withDevices(branch: Branch, isKept: (self: PciFunction) => boolean = () => false): Branch {
  const branches = branch.branches.filter(({ devices, self }) => devices.length > 0 || (self && isKept(self)));
  return { ...branch, branches: branches.map((child) => withDevices(child, isKept)) };
}
