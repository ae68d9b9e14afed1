// Combines what is alike in the tree of a large host: sibling branches with the same devices, links and verdicts.
import type { PciFunction } from '../pci/function';
import { longName } from '../pci/names';
import type { Branch } from './branches';
import { linkText } from './host';

/** A host with more devices is shown with what is alike combined. */
export const mostSeparate = 64;

/** Returns what a line tells of the function, or of the functions that are alike. */
export function branchName(self: PciFunction, { names }: Branch): string {
  if (names.length === 1) return longName(self);
  return self.physicalFunction === undefined ? longName(self) : `${longName(self, false)}, virtual function`;
}

/** The properties of a function that decide its verdicts, and those that are shown. */
function traits(self: PciFunction): unknown[] {
  const { acs, driver, physicalFunction, gaps } = self;
  const name = [longName(self, false), physicalFunction !== undefined];
  const state = acs.state === 'present' ? acs.redirects : acs.state;
  return [name, self.vendor, self.device, self.port, linkText(self), driver, state, gaps.map(({ what }) => what)];
}

/** The properties by which host bridges are alike: their place, and what the kernel knows them by. */
function hostBridgeTraits({ branches, self, name }: Branch, separate: boolean): unknown[] {
  if (self) return [];
  if (separate) return [name];
  const first = branches.find((branch) => branch.self)?.self;
  return [first?.numaNode, first?.vendor, first?.device, first?.port];
}

/** Finds branches that are alike: these have the same number. */
class Likeness {
  readonly #numbers = new Map<string, number>();
  readonly #known = new Map<Branch, number>();
  readonly #separate: boolean;

  /** @param separate whether host bridges are never alike */
  constructor(separate: boolean) {
    this.#separate = separate;
  }

  numberOf(branch: Branch): number {
    const known = this.#known.get(branch);
    if (known !== undefined) return known;
    const { self, branches, verdicts, devices } = branch;
    const below = branches.map((child) => this.numberOf(child)).sort((a, b) => a - b);
    const own = self ? traits(self) : hostBridgeTraits(branch, this.#separate);
    const key = JSON.stringify([own, verdicts, below, devices.length]);
    const number = this.#numbers.get(key) ?? this.#numbers.size;
    this.#numbers.set(key, number);
    this.#known.set(branch, number);
    return number;
  }
}

function combine(siblings: readonly Branch[], likeness: Likeness): Branch[] {
  const groups = new Map<number, Branch[]>();
  for (const branch of siblings) {
    const number = likeness.numberOf(branch);
    const group = groups.get(number);
    if (group) group.push(branch);
    else groups.set(number, [branch]);
  }
  return [...groups.values()].flatMap((alike): Branch[] => {
    const [first] = alike;
    if (!first) return [];
    return [
      {
        ...first,
        names: alike.flatMap(({ names }) => names),
        devices: alike.flatMap(({ devices }) => devices),
        branches: combine(
          alike.flatMap(({ branches }) => branches),
          likeness,
        ),
      },
    ];
  });
}

export const leavesOf = (branch: Branch): number =>
  branch.branches.length === 0 ? 1 : branch.branches.reduce((sum, child) => sum + leavesOf(child), 0);

/** Combines branches that are alike. `separate`: each host bridge by itself. */
export function collapse(root: Branch, separate: boolean): Branch {
  return { ...root, branches: combine(root.branches, new Likeness(separate)) };
}

/**
 * Cuts the tree so that it has at most `most` leaves, where the tree is wide enough for that. The branches with the most
 * devices are cut last. A leaf then stands for all devices below it.
 */
function cut(root: Branch, most: number): Branch {
  const open = new Set<Branch>([root]);
  let leaves = root.branches.length;
  const closed = [...root.branches];
  for (;;) {
    closed.sort((a, b) => b.devices.length - a.devices.length);
    const at = closed.findIndex(({ branches }) => branches.length > 0 && leaves - 1 + branches.length <= most);
    const [next] = at < 0 ? [] : closed.splice(at, 1);
    if (!next) break;
    open.add(next);
    leaves += next.branches.length - 1;
    closed.push(...next.branches);
  }
  const keep = (branch: Branch): Branch => ({
    ...branch,
    branches: open.has(branch) ? branch.branches.map(keep) : [],
  });
  return keep(root);
}

/** Returns the tree with as much detail as a picture has room for. */
export function fit(root: Branch, most = mostSeparate): Branch {
  if (leavesOf(root) <= most) return root;
  for (const separate of [true, false]) {
    const smaller = collapse(root, separate);
    if (leavesOf(smaller) <= most) return smaller;
  }
  return cut(collapse(root, false), most);
}
