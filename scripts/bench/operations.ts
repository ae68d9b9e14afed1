/** The operations that bench.cc and bench.ts measure, by the names that they print. */
export const operations: Record<string, string> = {
  export: 'export and close a dma-buf',
  'map-unmap': 'map and unmap a dma-buf of 16 MiB',
  read32: 'read a register of 32 bits',
  write32: 'write a register of 32 bits',
  'read-block': 'read 256 registers in one call, each',
  load32: 'read 32 bits of a memory BAR',
  'load-block': 'read 256 words of it in one call, each',
  'store-block': 'write 256 words of it in one call, each',
  sync: 'SYNC a udmabuf, begin and end',
};

/** Measured only by bench.ts, as C compilers remove an empty loop. */
export const emptyLoop = { 'empty-loop': 'a turn of an empty loop' };

/** Formats a row of a table. */
export function row(title: string, ...cells: string[]): string {
  return title.padEnd(42) + cells.map((cell) => cell.padStart(12)).join('');
}

/** Nanoseconds per operation, by the operation's name. */
export type Times = Map<string, number>;

/**
 * Parses "NAME NANOSECONDS" lines, one for each round. Returns the median for each name. The minimum would leave out
 * rounds with garbage collection, which is part of the library's cost; the median is not affected by a few disturbed
 * rounds.
 */
export function parseTimes(text: string): Times {
  const samples = new Map<string, number[]>();
  for (const line of text.trim().split('\n')) {
    const [name = '', nanoseconds = ''] = line.split(' ');
    samples.set(name, [...(samples.get(name) ?? []), Number(nanoseconds)]);
  }
  return new Map([...samples].map(([name, all]) => [name, median(all)]));
}

function median(samples: number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
