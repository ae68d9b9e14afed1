/** A pseudo-random number generator (xorshift): the same seed gives the same numbers. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 0x9e3779b1 + 0x7f4a7c15) | 0 || 1;
    for (let i = 0; i < 8; i += 1) this.#next(); // separates the sequences of similar seeds
  }

  #next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (this.#state = x) >>> 0;
  }

  /** An integer from 0 to `count` - 1. */
  below(count: number): number {
    return this.#next() % count;
  }

  /** True in `percent` of 100 cases. */
  percent(percent: number): boolean {
    return this.below(100) < percent;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined && list.length === 0) throw new RangeError('nothing to pick from');
    return item as T;
  }
}
