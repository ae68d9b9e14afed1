// Formats the verdicts on all pairs as a table of letters.
import { codedError } from '../errors/errors';
import { longName, shortAddress, shortName } from '../pci/names';
import type { PciFunction } from '../pci/function';
import type { P2pGroup, P2pMatrix } from '../pci/p2p-matrix';
import { mostSeparate } from './collapse';
import type { P2pVerdict } from '../pci/p2p-path';
import { lineWidth, paint } from './output';
import { allVerdicts, verdictLooks } from './verdict';

/** The width in characters if the output is not a terminal. */
const usualWidth = 80;
const mostInUsualWidth = 16;

/** A row and column of the table: a device, or several with the same verdicts. */
interface Row {
  address: string;
  name: string;
  /** The first of its devices. */
  index: number;
  /** The verdict on two of its devices; undefined: it is one device. */
  within: P2pVerdict | undefined;
}

function deviceRows({ devices }: P2pMatrix): Row[] {
  return devices.map((device, index) => ({
    ...{ address: shortAddress(device.address), name: longName(device), index, within: undefined },
  }));
}

const topOf = (self: PciFunction): string => (self.parent ? topOf(self.parent) : self.address);

/** Divides a group by root ports, so that a row is a part of the tree. */
function partsOf({ devices, within }: P2pGroup, matrix: P2pMatrix): P2pGroup[] {
  const parts = new Map<string, number[]>();
  for (const index of devices) {
    const device = matrix.devices[index];
    const top = device ? topOf(device) : '';
    parts.set(top, [...(parts.get(top) ?? []), index]);
  }
  return [...parts.values()].map((part) => ({ devices: part, within: part.length > 1 ? within : undefined }));
}

function groupRows(matrix: P2pMatrix): Row[] {
  const parts = matrix.groups().flatMap((group) => partsOf(group, matrix));
  parts.sort((a, b) => (a.devices[0] ?? 0) - (b.devices[0] ?? 0));
  return parts.map((part) => groupRow(part, matrix));
}

function groupRow({ devices, within }: P2pGroup, matrix: P2pMatrix): Row {
  const found = devices.flatMap((index) => matrix.devices[index] ?? []);
  const [first, last] = [found[0], found.at(-1)].map((device) => shortAddress(device?.address ?? ''));
  const counts = new Map<string, number>();
  for (const device of found) counts.set(shortName(device), (counts.get(shortName(device)) ?? 0) + 1);
  const name = [...counts].map(([kind, count]) => `${String(count)} × ${kind}`).join(', ');
  const address = found.length === 1 ? (first ?? '') : `${first ?? ''} … ${last ?? ''}`;
  return { address, name, index: devices[0] ?? 0, within };
}

/**
 * Returns the lines of the table, one by one. On a large host, devices with the same verdicts share a row.
 *
 * @param separate whether each device has its row in any case
 * @throws Error ERR_TOO_WIDE: the table is wider than the terminal
 */
export function* matrixRows(matrix: P2pMatrix, separate = false): Generator<string> {
  const large = matrix.devices.length > mostSeparate && !separate;
  const rows = large ? groupRows(matrix) : deviceRows(matrix);
  const count = rows.length;
  const cellWidth = Math.max(3, String(count).length + 1);
  const addressWidth = Math.max(0, ...rows.map(({ address }) => address.length));
  const cells = cellWidth * count;
  const before = cellWidth + 1 + addressWidth + 1;
  if (before + cells > lineWidth()) {
    throw codedError(
      'ERR_TOO_WIDE',
      `${String(count)} ${large ? 'groups of devices' : 'devices'} do not fit ${String(lineWidth())} columns. Name those ` +
        'that matter (topology --matrix ADDR ADDR …), draw them (--svg FILE), or take it all as --json',
    );
  }
  const width =
    count <= mostInUsualWidth ? Math.min(lineWidth(), usualWidth) : Math.min(lineWidth(), before + cells + 30);
  const room = Math.max(0, width - before - cells);
  const nameWidth = Math.max(0, ...rows.map(({ name }) => Math.min(name.length, room)));
  const number = (i: number) => String(i + 1).padStart(cellWidth);
  const cell = (verdict: P2pVerdict) =>
    paint(verdictLooks[verdict].style, verdictLooks[verdict].letter.padStart(cellWidth));
  yield paint('bold', `${' '.repeat(before + nameWidth)}${rows.map((_, i) => number(i)).join('')}`);
  for (const [i, { address, name, index, within }] of rows.entries()) {
    const label = `${number(i)} ${address.padEnd(addressWidth)} ${name.slice(0, room)}`;
    const letters = rows.map((other, j) => {
      if (i !== j) return cell(matrix.verdict(index, other.index));
      return within ? cell(within) : '·'.padStart(cellWidth);
    });
    yield `${label.padEnd(before + nameWidth)}${letters.join('')}`;
  }
  yield '';
  const legend = allVerdicts.map((verdict) => {
    const { letter, text, style } = verdictLooks[verdict];
    return `${paint(style, letter)} ${text}`;
  });
  yield legend.join('   ');
}

/** Returns the lines of the table, each device in its row unless there are many. @throws as {@link matrixRows} */
export const matrixLines = (matrix: P2pMatrix): string[] => [...matrixRows(matrix)];
