// Ranges of IOVAs in ascending order, to find those in a given range.

/** A range of IOVAs. @internal */
export interface IovaRange {
  readonly iova: bigint;
  readonly length: bigint;
}

const most = 512;

/**
 * Ranges that do not overlap, ordered by IOVA, in chunks of at most 512: adding, removing and finding a range takes
 * O(log n) comparisons. @internal
 */
export class ByIova<T extends IovaRange> {
  /** In order. No chunk is empty. */
  readonly #chunks: T[][] = [];

  constructor(ranges: readonly T[]) {
    const sorted = [...ranges].sort((a, b) => (a.iova < b.iova ? -1 : 1));
    for (let i = 0; i < sorted.length; i += most / 2) this.#chunks.push(sorted.slice(i, i + most / 2));
  }

  /** The index of the last chunk that begins at or before `iova`, or 0. */
  #chunkAt(iova: bigint): number {
    let [low, high] = [0, this.#chunks.length];
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      const begin = this.#chunks[middle]?.[0];
      if (begin !== undefined && begin.iova <= iova) low = middle;
      else high = middle;
    }
    return low;
  }

  add(range: T): void {
    const at = this.#chunkAt(range.iova);
    const chunk = this.#chunks[at];
    if (!chunk) {
      this.#chunks.push([range]);
      return;
    }
    chunk.splice(firstFrom(chunk, range.iova), 0, range);
    if (chunk.length > most) this.#chunks.splice(at + 1, 0, chunk.splice(most / 2));
  }

  delete(range: T): void {
    const at = this.#chunkAt(range.iova);
    const chunk = this.#chunks[at];
    const index = chunk ? firstFrom(chunk, range.iova) : 0;
    if (chunk?.[index] !== range) return;
    chunk.splice(index, 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
  }

  /** Returns the ranges that overlap with IOVAs from `first` to before `end`, in ascending order. */
  within(first: bigint, end: bigint): T[] {
    const found: T[] = [];
    let at = this.#chunkAt(first);
    // The last range that begins before `first` may reach into it.
    let index = Math.max(0, firstFrom(this.#chunks[at] ?? [], first) - 1);
    for (; at < this.#chunks.length; at += 1, index = 0) {
      for (const range of this.#chunks[at]?.slice(index) ?? []) {
        if (range.iova >= end) return found;
        if (range.iova + range.length > first) found.push(range);
      }
    }
    return found;
  }
}

/** The index of the first range that begins at or after `iova`. */
function firstFrom(chunk: readonly IovaRange[], iova: bigint): number {
  let [low, high] = [0, chunk.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const range = chunk[middle];
    if (range !== undefined && range.iova < iova) low = middle + 1;
    else high = middle;
  }
  return low;
}
