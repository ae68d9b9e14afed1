// The tree of a host with the verdicts on it: two devices' ways meet at one place, and many pairs meet at the same.
import type { PciFunction } from '../pci/function';
import type { P2pVerdict } from '../pci/p2p';
import type { P2pMatrix } from '../pci/p2p-matrix';
import type { PciTopology } from '../pci/topology';

/** A place in the tree: the host, a host bridge, or a function. */
export interface Branch {
  /** The host bridge's name or the function's address; '' is the host. */
  name: string;
  /** undefined: the host, or a host bridge. */
  self: PciFunction | undefined;
  branches: Branch[];
  /** The devices here and below, as indices of the matrix. */
  devices: number[];
  /** What is said of the pairs whose ways meet here, each verdict once; empty: no two do. */
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

/** The whole host. */
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

/** Without what has no device of the matrix below. */
export function withDevices(branch: Branch): Branch {
  return { ...branch, branches: branch.branches.filter(({ devices }) => devices.length > 0).map(withDevices) };
}
