// Which pages devices wrote to, from the bitmap that says so.

/** Pages that devices may have written to, in a row. */
export interface DirtyRange {
  iova: bigint;
  /** In bytes. */
  length: bigint;
}

/** The runs of set bits, as IOVAs from `first` on. @internal */
export function toDirtyRanges(bitmap: BigUint64Array, first: bigint, pageSize: bigint): DirtyRange[] {
  const ranges: DirtyRange[] = [];
  let start = -1;
  const end = (page: number) => {
    if (start >= 0) ranges.push({ iova: first + BigInt(start) * pageSize, length: BigInt(page - start) * pageSize });
    start = -1;
  };
  const words = new Uint32Array(bitmap.buffer, bitmap.byteOffset, 2 * bitmap.length);
  for (const [i, word] of words.entries()) {
    for (let bit = 0; bit < 32; bit += 1) {
      if (((word >>> bit) & 1) === 0) end(32 * i + bit);
      else if (start < 0) start = 32 * i + bit;
    }
  }
  end(32 * words.length);
  return ranges;
}
