/** An object's calls that are under way on pool threads: what waits for them before it goes. @internal */
export class Calls {
  readonly #underWay = new Set<Promise<unknown>>();

  /** Adds one; returns it. */
  add<T>(call: Promise<T>): Promise<T> {
    const over = () => {
      this.#underWay.delete(settled);
    };
    const settled = Promise.resolve(call).then(over, over);
    this.#underWay.add(settled);
    return call;
  }

  get areUnderWay(): boolean {
    return this.#underWay.size > 0;
  }

  /** Resolves when none is under way. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all([...this.#underWay]);
  }
}
