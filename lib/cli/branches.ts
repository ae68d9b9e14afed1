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
  /** The function; undefined for the host and for host bridges. */
  self: PciFunction | undefined;
  branches: Branch[];
  /** The devices at this node and below, as indices of the matrix. */
  devices: number[];
  /** The distinct verdicts on the pairs whose paths join at this node; empty if there are none. */
  verdicts: P2pVerdict[];
}

function meetings(branches: readonly Branch[], matrix: P2pMatrix): P2pVerdict[] {
  const found = new Set<P2pVerdict>();
  const before: number[] = [];
  for (const { devices } of branches) {
    for (const i of devices) for (const j of before) found.add(matrix.verdict(i, j));
    before.push(...devices);
  }
  return [...found].sort();
}

/** Returns the tree of the whole host. */
export function toBranches({ hostBridges }: PciTopology, matrix: P2pMatrix): Branch {
  const indices = new Map(matrix.devices.map((device, i) => [device, i]));
  const join = (name: string, self: PciFunction | undefined, branches: Branch[]): Branch => {
    const index = self && indices.get(self);
    const own = index === undefined ? [] : [index];
    const devices = [...own, ...branches.flatMap((branch) => branch.devices)];
    return { name, self, branches, devices, verdicts: meetings(branches, matrix) };
  };
  const toBranch = (self: PciFunction): Branch => join(self.address, self, self.children.map(toBranch));
  return join(
    '',
    undefined,
    [...hostBridges].map(([name, functions]) => join(name, undefined, functions.map(toBranch))),
  );
}

/** Removes branches that contain no device of the matrix. */
export function withDevices(branch: Branch): Branch {
  return { ...branch, branches: branch.branches.filter(({ devices }) => devices.length > 0).map(withDevices) };
}
