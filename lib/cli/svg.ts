// Draws the picture of a host as standalone SVG without scripts or embedded fonts.
import type { P2pVerdict } from '../pci/p2p-path';
import type { Box, Cell, Picture, Trunk } from './picture';
import { verdictLooks } from './verdict';

const fontSize = 12.5;
const noVerdict = '#9aa3b2';

const fills: Readonly<Record<Box['kind'], { fill: string; stroke: string }>> = {
  host: { fill: '#2f3b52', stroke: '#2f3b52' },
  bridge: { fill: '#e8ecf3', stroke: '#9aa3b2' },
  device: { fill: '#ffffff', stroke: '#5b6779' },
};

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

function element(name: string, attributes: Record<string, string | number | undefined>, content?: string): string {
  const written = Object.entries(attributes)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}="${escape(String(value))}"`)
    .join('');
  return content === undefined ? `<${name}${written}/>` : `<${name}${written}>${content}</${name}>`;
}

function text(x: number, y: number, content: string, more: Record<string, string | number | undefined> = {}): string {
  return element('text', { x, y: y + fontSize * 0.35, ...more }, escape(content));
}

function drawBox({ x, y, width, height, text: words, detail, kind }: Box): string {
  const middle = y + height / 2;
  const colour = kind === 'host' ? '#ffffff' : '#1d2533';
  return [
    element('rect', { x, y, width, height, rx: 5, ...fills[kind] }),
    text(x + 10, middle, words, { fill: colour }),
    ...(detail === undefined ? [] : [text(x + width - 10, middle, detail, { fill: '#5b6779', 'text-anchor': 'end' })]),
  ].join('');
}

/** Draws a trunk in the colour of its verdict, or dashed in several colours if it has several verdicts. */
function drawTrunk({ from, x, to, verdicts }: Trunk): string {
  const ys = [from.y, ...to.map(({ y }) => y)];
  const lines = [
    `M${String(from.x)} ${String(from.y)}H${String(x)}`,
    `M${String(x)} ${String(Math.min(...ys))}V${String(Math.max(...ys))}`,
    ...to.map((end) => `M${String(x)} ${String(end.y)}H${String(end.x)}`),
  ].join('');
  const style = { d: lines, fill: 'none', 'stroke-linecap': 'square' };
  if (verdicts.length === 0) return element('path', { ...style, stroke: noVerdict, 'stroke-width': 1.5 });
  const dash = 8;
  return verdicts
    .map((verdict, i) =>
      element('path', {
        ...style,
        stroke: verdictLooks[verdict].colour,
        'stroke-width': 3,
        ...(verdicts.length > 1 && {
          'stroke-linecap': 'butt',
          'stroke-dasharray': `${String(dash)} ${String(dash * (verdicts.length - 1))}`,
          'stroke-dashoffset': -i * dash,
        }),
      }),
    )
    .join('');
}

/** Draws the cells of a row: its rectangles as one path for each verdict, and its letters as one text. */
function drawRow(row: readonly Cell[]): string {
  const shapes = new Map<P2pVerdict, string>();
  const letters = new Map<string, { xs: number[]; text: string }>();
  for (const { x, y, width, height, verdicts } of row) {
    for (const [i, verdict] of verdicts.entries()) {
      const part = width / verdicts.length;
      const path = `M${String(x + i * part)} ${String(y)}h${String(part)}v${String(height)}h${String(-part)}z`;
      shapes.set(verdict, (shapes.get(verdict) ?? '') + path);
    }
    const [only] = verdicts;
    if (!only || verdicts.length > 1) continue; // stripes need no letter
    const { ink, letter } = verdictLooks[only];
    const written = letters.get(ink) ?? { xs: [], text: '' };
    written.xs.push(x + width / 2);
    written.text += letter;
    letters.set(ink, written);
  }
  const [{ y, height } = { y: 0, height: 0 }] = row;
  return [
    ...[...shapes].map(([verdict, d]) => element('path', { d, fill: verdictLooks[verdict].cell })),
    ...[...letters].map(([fill, { xs, text: words }]) => {
      const at = { x: xs.join(' '), y: y + height / 2 + fontSize * 0.35, 'text-anchor': 'middle', fill };
      return element('text', at, words);
    }),
  ].join('');
}

function drawCells(cells: readonly Cell[]): string[] {
  const rows = new Map<number, Cell[]>();
  for (const cell of cells) rows.set(cell.y, [...(rows.get(cell.y) ?? []), cell]);
  return [...rows.values()].map(drawRow);
}

export function toSvg({ width, height, title, boxes, trunks, cells, labels, legend }: Picture): string {
  const parts = [
    element('title', {}, escape(title)),
    element('rect', { width, height, fill: '#ffffff' }),
    text(24, 36, title, { 'font-size': 16, 'font-weight': 'bold' }),
    ...trunks.map(drawTrunk),
    ...boxes.map(drawBox),
    ...drawCells(cells),
    ...labels.map(({ x, y, text: words, align }) => text(x, y, words, { 'text-anchor': align, fill: '#5b6779' })),
    ...legend.map(({ verdict, text: words, ...at }) => {
      const { cell, ink, letter } = verdictLooks[verdict];
      const middle = at.y + at.height / 2;
      return [
        element('rect', { ...at, rx: 3, fill: cell }),
        text(at.x + at.width / 2, middle, letter, { 'text-anchor': 'middle', fill: ink }),
        text(at.x + at.width + 8, middle, words),
      ].join('');
    }),
  ];
  const attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    ...{ width, height, viewBox: `0 0 ${String(width)} ${String(height)}` },
    ...{ 'font-family': 'DejaVu Sans, Verdana, Helvetica, sans-serif', 'font-size': fontSize, fill: '#1d2533' },
  };
  return `${element('svg', attributes, `\n${parts.join('\n')}\n`)}\n`;
}
