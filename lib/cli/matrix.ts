// Formats the verdicts on all pairs as a table of letters.
import { codedError } from '../errors/errors';
import { shortAddress, shortName } from '../pci/names';
import type { P2pMatrix } from '../pci/p2p-matrix';
import { lineWidth, paint } from './output';
import { allVerdicts, verdictLooks } from './verdict';

const cellWidth = 3;
/** The width in characters if the output is not a terminal. */
const usualWidth = 80;
const mostInUsualWidth = 16;

/** @throws Error ERR_TOO_WIDE: the table is wider than the terminal */
export function matrixLines(matrix: P2pMatrix): string[] {
  const { devices } = matrix;
  const count = devices.length;
  const addresses = devices.map(({ address }) => shortAddress(address));
  const addressWidth = Math.max(0, ...addresses.map((address) => address.length));
  const cells = cellWidth * count;
  const before = cellWidth + 1 + addressWidth + 1;
  if (before + cells > lineWidth()) {
    throw codedError(
      'ERR_TOO_WIDE',
      `${String(count)} devices do not fit ${String(lineWidth())} columns. Name those that matter ` +
        '(topology --matrix ADDR ADDR …), draw them (--svg FILE), or take it all as --json',
    );
  }
  const width =
    count <= mostInUsualWidth ? Math.min(lineWidth(), usualWidth) : Math.min(lineWidth(), before + cells + 30);
  const names = devices.map((device) => shortName(device).slice(0, Math.max(0, width - before - cells)));
  const nameWidth = Math.max(0, ...names.map((name) => name.length));
  const number = (i: number) => String(i + 1).padStart(cellWidth);
  const title = `${' '.repeat(before + nameWidth)}${devices.map((_, i) => number(i)).join('')}`;
  const rows = devices.map((_, i) => {
    const label = `${number(i)} ${addresses[i]?.padEnd(addressWidth) ?? ''} ${names[i] ?? ''}`;
    const letters = devices.map((_other, j) => {
      if (i === j) return '·'.padStart(cellWidth);
      const { letter, style } = verdictLooks[matrix.verdict(i, j)];
      return paint(style, letter.padStart(cellWidth));
    });
    return `${label.padEnd(before + nameWidth)}${letters.join('')}`;
  });
  const legend = allVerdicts.map((verdict) => {
    const { letter, text, style } = verdictLooks[verdict];
    return `${paint(style, letter)} ${text}`;
  });
  return [paint('bold', title), ...rows, '', legend.join('   ')];
}
