/** The calls on an object that are running on other threads. Closing can wait for them. @internal */
export class Calls {
  readonly #underWay = new Set<Promise<unknown>>();

  /** Adds a call and returns it. */
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

  /** Resolves when no call is running. */
  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all([...this.#underWay]);
  }
}
