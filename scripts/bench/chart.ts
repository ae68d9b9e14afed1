// A chart with logarithmic axes, as SVG.

const [width, height, left, right, top, bottom] = [940, 500, 80, 380, 30, 60];
const colors = ['#0b61a4', '#c2410c', '#15803d', '#7e22ce', '#0f766e', '#a16207'];

const escaped = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');

/** Draws costs in microseconds against numbers of objects: one line for each name. */
export function chart(title: string, counts: readonly number[], lines: ReadonlyMap<string, readonly number[]>): string {
  const all = [...lines.values()].flat();
  const decades = [Math.floor(Math.log10(Math.min(...all))), Math.ceil(Math.log10(Math.max(...all)))] as const;
  const ends = [Math.log10(counts[0] ?? 1), Math.log10(counts.at(-1) ?? 10)] as const;
  const x = (count: number) => left + ((Math.log10(count) - ends[0]) / (ends[1] - ends[0])) * (width - left - right);
  const y = (cost: number) =>
    height - bottom - ((Math.log10(cost) - decades[0]) / (decades[1] - decades[0])) * (height - top - bottom);
  const parts = [`<text x="${String(left)}" y="18" font-weight="bold">${escaped(title)}</text>`];
  for (const count of counts) {
    parts.push(
      `<line x1="${x(count).toFixed(1)}" x2="${x(count).toFixed(1)}" y1="${String(top)}" y2="${String(height - bottom)}" stroke="#ddd"/>`,
      `<text x="${x(count).toFixed(1)}" y="${String(height - bottom + 20)}" text-anchor="middle">${count.toLocaleString('en')}</text>`,
    );
  }
  for (let decade = decades[0]; decade <= decades[1]; decade += 1) {
    const at = y(10 ** decade).toFixed(1);
    parts.push(
      `<line x1="${String(left)}" x2="${String(width - right)}" y1="${at}" y2="${at}" stroke="#ddd"/>`,
      `<text x="${String(left - 8)}" y="${at}" text-anchor="end" dominant-baseline="middle">${String(10 ** decade)} µs</text>`,
    );
  }
  parts.push(`<text x="${String(left)}" y="${String(height - 12)}">objects that exist already</text>`);
  [...lines].forEach(([name, costs], i) => {
    const color = colors[i % colors.length] ?? '#000';
    const points = costs.map((cost, j) => `${x(counts[j] ?? 1).toFixed(1)},${y(cost).toFixed(1)}`);
    const row = String(top + 20 + 22 * i);
    parts.push(
      `<polyline points="${points.join(' ')}" fill="none" stroke="${color}" stroke-width="2"/>`,
      `<line x1="${String(width - right + 16)}" x2="${String(width - right + 40)}" y1="${row}" y2="${row}" stroke="${color}" stroke-width="2"/>`,
      `<text x="${String(width - right + 46)}" y="${row}" dominant-baseline="middle">${escaped(name)}</text>`,
    );
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(width)} ${String(height)}" font-family="sans-serif" font-size="13">`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    ...parts,
    '</svg>\n',
  ].join('\n');
}
