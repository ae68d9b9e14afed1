/** What bench.cc and bench.ts measure, by the names they print. */
export const operations: Record<string, string> = {
  export: 'export and close a dma-buf',
  'map-unmap': 'map and unmap a dma-buf of 16 MiB',
  read32: 'read a register of 32 bits',
  write32: 'write a register of 32 bits',
  'read-block': 'read 256 registers in one call',
  load32: 'read 32 bits of a memory BAR',
  sync: 'SYNC a udmabuf, begin and end',
};

/** "NAME NANOSECONDS" lines; the fastest of each name. */
export function parseTimes(text: string): Map<string, number> {
  const fastest = new Map<string, number>();
  for (const line of text.trim().split('\n')) {
    const [name = '', nanoseconds = ''] = line.split(' ');
    fastest.set(name, Math.min(fastest.get(name) ?? Infinity, Number(nanoseconds)));
  }
  return fastest;
}
