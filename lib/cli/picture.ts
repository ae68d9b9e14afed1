// Computes the layout of the picture of a host: the tree from left to right, one row per device, and the verdicts on
// its pairs next to it. On a large host, a row stands for several devices. svg.ts draws it.
import type { PciFunction } from '../pci/function';
import { shortAddress, shortName } from '../pci/names';
import type { P2pVerdict } from '../pci/p2p-path';
import type { P2pMatrix } from '../pci/p2p-matrix';
import type { PciTopology } from '../pci/topology';
import { groupNumbers, verdictsBetween, withDevices, type Branch } from './branches';
import { branchName, fit } from './collapse';
import { linkText } from './host';
import { allVerdicts, verdictLooks } from './verdict';

export interface Rectangle {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The box of a tree node. */
export interface Box extends Rectangle {
  text: string;
  /** Text at the right end, in a lighter colour. */
  detail: string | undefined;
  kind: 'host' | 'bridge' | 'device';
}

/** The line from a node to its children: a vertical trunk with one branch per child. */
export interface Trunk {
  from: { x: number; y: number };
  /** The x position of the vertical line. */
  x: number;
  to: { x: number; y: number }[];
  /** The verdicts on the pairs whose paths join here. */
  verdicts: P2pVerdict[];
}

/** The cell of two rows in the matrix. */
export interface Cell extends Rectangle {
  /** The distinct verdicts on a device of one row and one of the other. */
  verdicts: P2pVerdict[];
}

export interface Label {
  x: number;
  y: number;
  text: string;
  align: 'start' | 'middle' | 'end';
}

export interface Picture {
  width: number;
  height: number;
  title: string;
  boxes: Box[];
  trunks: Trunk[];
  cells: Cell[];
  /** The device numbers, to the left of and above the cells. */
  labels: Label[];
  legend: (Rectangle & { verdict: P2pVerdict; text: string })[];
}

/** The maximum average width of a character in the boxes' font size. */
export const characterWidth = 7.4;
const margin = 24;
const rowHeight = 34;
const boxHeight = 26;
const gap = 44;
const padding = 10;
const titleHeight = 40;
const numberWidth = 34;
const legendHeight = 56;
/** With more devices than this, the cells are narrower. */
const manyDevices = 24;

/** The number of characters in a box. */
const longestText = 128;

const textWidth = (text: string): number => text.length * characterWidth;
const clip = (text: string): string => (text.length > longestText ? `${text.slice(0, longestText - 1)}…` : text);

/** Returns for example '8 × NVIDIA 3D controller, 4 × Mellanox InfiniBand' of the devices that a node stands for. */
function summary(devices: readonly number[], matrix: P2pMatrix): string {
  const counts = new Map<string, number>();
  for (const index of devices) {
    const device = matrix.devices[index];
    const name = device ? shortName(device) : '';
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const parts = [...counts].sort(([, a], [, b]) => b - a).map(([name, count]) => `${String(count)} × ${name}`);
  return parts.join(', ');
}

const isLeaf = ({ branches }: Branch): boolean => branches.length === 0;

/** Returns for example '13:00.0', or '13:00.0 … 1a:00.0: 8 ×' for several. */
function namesText(names: readonly string[]): string {
  const [first = '', last = ''] = [names[0], names.at(-1)].map((name) => name && shortAddress(name));
  return names.length === 1 ? first : `${first} … ${last}: ${String(names.length)} ×`;
}

const kindOf = (self: PciFunction, branch: Branch): string =>
  self.port?.endsWith('-port') ? self.port.replace('-', ' ') : branchName(self, branch);

function textOf(branch: Branch, cpu: PciTopology['cpu'], matrix: P2pMatrix): string {
  const { self, branches, names, name, devices } = branch;
  if (name === '') return cpu?.vendor === undefined ? 'host' : `host (${cpu.vendor})`;
  const which = self ? `${namesText(names)} ${kindOf(self, branch)}` : namesText(names);
  if (isLeaf(branch) && (devices.length > names.length || !self)) return `${which} with ${summary(devices, matrix)}`;
  const node = self ? undefined : branches.find((child) => child.self?.numaNode !== undefined)?.self?.numaNode;
  return node === undefined ? which : `${which}, node ${String(node)}`;
}

interface Placed extends Branch {
  text: string;
  detail: string | undefined;
  column: number;
  branches: Placed[];
}

/** Assigns a column to a node. Devices are always in the last column. */
function place(branch: Branch, column: number, cpu: PciTopology['cpu'], matrix: P2pMatrix): Placed {
  const { self } = branch;
  const isDevice = isLeaf(branch);
  return {
    ...branch,
    text: clip(textOf(branch, cpu, matrix)),
    detail: self && isDevice ? linkText(self) : undefined,
    column: isDevice ? Number.POSITIVE_INFINITY : column,
    branches: branch.branches.map((child) => place(child, column + 1, cpu, matrix)),
  };
}

const flatten = (branch: Placed): Placed[] => [branch, ...branch.branches.flatMap(flatten)];

function widthOf({ text, detail }: Placed): number {
  return Math.ceil(2 * padding + textWidth(text) + (detail === undefined ? 0 : textWidth(detail) + padding));
}

/** Returns the left edge and width of each column. The last column has the devices. */
function columnsOf(all: readonly Placed[]): { x: number; width: number }[] {
  const inner = all.filter(({ column }) => Number.isFinite(column)).map(({ column }) => column);
  const order = [...new Set(inner)].sort((a, b) => a - b);
  let x = margin;
  return [...order, Number.POSITIVE_INFINITY].map((column) => {
    const width = Math.max(...all.filter((branch) => branch.column === column).map(widthOf));
    const placed = { x, width };
    x += width + gap;
    return placed;
  });
}

export function layOut(topology: PciTopology, whole: Branch, matrix: P2pMatrix): Picture {
  const root = place(fit(withDevices(whole)), 0, topology.cpu, matrix);
  const groups = groupNumbers(matrix);
  const columns = columnsOf(flatten(root));
  const boxes: Box[] = [];
  const trunks: Trunk[] = [];
  const rows: { devices: readonly number[]; y: number }[] = [];
  const top = margin + titleHeight + boxHeight;
  const boxKind = (self: PciFunction | undefined, isDevice: boolean): Box['kind'] => {
    if (isDevice) return 'device';
    return self ? 'bridge' : 'host';
  };

  /** Places a node and its children in the next rows. Returns the y position of its centre. */
  const put = (branch: Placed): number => {
    const isDevice = isLeaf(branch);
    const middles = branch.branches.map(put);
    const y = isDevice
      ? top + rows.length * rowHeight + rowHeight / 2
      : ((middles[0] ?? 0) + (middles.at(-1) ?? 0)) / 2;
    if (isDevice) rows.push({ devices: branch.devices, y });
    const { x, width } = columns.at(isDevice ? -1 : branch.column) ?? { x: 0, width: 0 };
    const { text, detail, self, verdicts } = branch;
    boxes.push({ x, y: y - boxHeight / 2, width, height: boxHeight, text, detail, kind: boxKind(self, isDevice) });
    if (!isDevice) {
      const to = branch.branches.map((child, i) => ({
        x: columns.at(isLeaf(child) ? -1 : child.column)?.x ?? 0,
        y: middles[i] ?? 0,
      }));
      trunks.push({ from: { x: x + width, y }, x: x + width + gap / 2, to, verdicts });
    }
    return y;
  };
  put(root);

  const cellSize = rows.length > manyDevices ? 20 : 26;
  const last = columns.at(-1) ?? { x: 0, width: 0 };
  const cellsAt = last.x + last.width + numberWidth;
  const labels: Label[] = rows.flatMap(({ y }, i) => {
    const text = String(i + 1);
    return [
      { x: cellsAt - 8, y, text, align: 'end' as const },
      { x: cellsAt + (i + 0.5) * cellSize, y: top - boxHeight / 2, text, align: 'middle' as const },
    ];
  });
  const cells = rows.flatMap(({ devices, y }, i) =>
    rows.flatMap((other, j): Cell[] => {
      // Each device is a list of its own, for the pairs within a row.
      const lists = i === j ? devices.map((device) => [device]) : [devices, other.devices];
      const verdicts = lists.length < 2 ? [] : verdictsBetween(lists, matrix, groups);
      if (verdicts.length === 0) return [];
      const at = { x: cellsAt + j * cellSize + 1, y: y - rowHeight / 2 + 1 };
      return [{ ...at, width: cellSize - 2, height: rowHeight - 2, verdicts }];
    }),
  );
  const bottom = top + rows.length * rowHeight;
  let legendAt = margin;
  const legend = allVerdicts.map((verdict) => {
    const { text } = verdictLooks[verdict];
    const item = { x: legendAt, y: bottom + 24, width: 18, height: 18, verdict, text };
    legendAt += item.width + padding + textWidth(text) + gap / 2;
    return item;
  });
  if (cells.some(({ verdicts }) => verdicts.length > 1)) {
    const text = 'several colours: some of the pairs each; the tree shows at which bridge';
    labels.push({ x: legendAt, y: bottom + 24 + 9, text, align: 'start' });
    legendAt += textWidth(text) + gap / 2;
  }
  const count = matrix.devices.length;
  const title =
    `${String(count)} PCI devices: whether DMA of one reaches the memory of another` +
    (rows.length < count ? `; what is alike shares one of ${String(rows.length)} rows` : '');
  const right = Math.max(cellsAt + rows.length * cellSize, legendAt - gap / 2, margin + textWidth(title) * 1.3);
  return {
    width: Math.ceil(right + margin),
    height: bottom + legendHeight + margin,
    ...{ title, boxes, trunks, cells, labels, legend },
  };
}
