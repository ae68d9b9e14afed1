// Random numbers that a seed determines (xorshift32 with a multiplication of its state).

export class Random {
  #state: number;

  constructor(...seed: number[]) {
    this.#state = 0x9e37_79b9;
    for (const part of seed) this.#state = Math.imul(this.#state ^ part, 0x85eb_ca6b) ^ (this.#state >>> 13);
    if (this.#state === 0) this.#state = 1;
    for (let i = 0; i < 8; i += 1) this.below(2);
  }

  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (Math.imul(x, 0x9e37_79b1) >>> 0) % limit;
  }

  /** True once in `n` times. */
  oneIn(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}
