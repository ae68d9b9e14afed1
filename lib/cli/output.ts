// Formats the output of commands: tables that fit the terminal, and colour if the output is a terminal.
import { writeFileSync } from 'node:fs';
import { styleText } from 'node:util';
import { exitCodes } from './exit-codes';

export type Style = 'bold' | 'dim' | 'green' | 'red' | 'yellow' | 'cyan';

/** Whether the output is a terminal with colour enabled (NO_COLOR, FORCE_COLOR, as in Node). */
function inColour(): boolean {
  return process.stdout.isTTY && process.stdout.hasColors() && process.env['NO_COLOR'] === undefined;
}

export function paint(style: Style, text: string): string {
  return inColour() ? styleText(style, text) : text;
}

/**
 * The width of the terminal in characters; 80 if the terminal does not report it, as on a serial line. Unlimited if the
 * output is not a terminal.
 */
export function lineWidth(): number {
  if (!process.stdout.isTTY) return Number.MAX_SAFE_INTEGER;
  return process.stdout.columns > 0 ? process.stdout.columns : 80;
}

/** Wraps words into lines of at most `width` characters. A longer word is not split, so that it can be copied. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1] ?? '';
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}

/** Formats rows of cells with titles. The last column uses the rest of the line and is wrapped. */
export function table(
  titles: readonly string[],
  rows: readonly (readonly string[])[],
  styles: readonly (Style | undefined)[] = [],
): string {
  const widths = titles.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const last = titles.length - 1;
  const before = widths.slice(0, last).reduce((sum, width) => sum + width + 2, 0);
  const room = Math.max(20, lineWidth() - before);
  const line = (row: readonly string[], style?: Style) => {
    const lines = wrap(row[last] ?? '', room);
    return lines.map((end, n) => {
      const cells = row.slice(0, last).map((cell, i) => (n === 0 ? cell : '').padEnd(widths[i] ?? 0));
      const whole = [...cells, end].join('  ').trimEnd();
      return style ? paint(style, whole) : whole;
    });
  };
  return [...line(titles, 'bold'), ...rows.flatMap((row, i) => line(row, styles[i]))].join('\n');
}

/** Formats JSON with bigints as '0x…' strings, because JSON numbers cannot represent 64-bit integers. */
export function json(value: unknown): string {
  return JSON.stringify(
    value,
    (_, member: unknown) => (typeof member === 'bigint' ? `0x${member.toString(16)}` : member),
    2,
  );
}

/** For example '16 MiB'. */
export function size(bytes: bigint): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let amount = bytes;
  while (amount >= 1024n && amount % 1024n === 0n && unit < units.length - 1) {
    amount /= 1024n;
    unit += 1;
  }
  return `${amount} ${units[unit] ?? ''}`;
}

/** The name of a file argument that stands for standard output. `./-` is a file. */
export const standardOutput = '-';

/** Writes to a file or to standard output. */
export function write(file: string, text: string): void {
  if (file === standardOutput) process.stdout.write(text);
  else writeFileSync(file, text);
}

/**
 * Handles failed writes to standard output and standard error, for the whole process. EPIPE: the reader has all that it
 * wants, as in `… | head -1`. The command then ends as usual, with its usual exit code.
 */
export function handleOutputErrors(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', ({ code = '', message }: NodeJS.ErrnoException) => {
      if (code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED') return;
      if (stream === process.stdout) process.stderr.write(`vfio-dmabuf: cannot write the output: ${message}\n`);
      process.exitCode = exitCodes.failed.code;
    });
  }
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
