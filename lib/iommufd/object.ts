// What the numbered objects of an iommufd have in common: what they are built on, and how they end.
import { kernelCall, kernelCallAsync } from '../errors/errors';
import { Closable } from '../lifetime/closable';
import type { Child, End } from '../lifetime/lifetime';
import type { NativeObject } from '../addon/native';

/** What owns the object natively. @internal */
export interface Owned {
  readonly id: number;
  destroy(): void;
  /** Lets go of it; the last share destroys it. */
  release(): void;
  destroyLater(): Promise<void>;
}

/** @internal */
export function owned<H>(functions: NativeObject<H>, handle: H): Owned {
  return {
    id: functions.id(handle),
    destroy: () => functions.destroy(handle),
    release: () => functions.release(handle),
    destroyLater: () => functions.destroyLater(handle),
  };
}

/** What takes an object along when it is closed. @internal */
export interface Keeper {
  readonly dependents: { add(child: Child): unknown; delete(child: Child): unknown };
}

/** An object of an iommufd. What is built on it is closed before it, and it keeps what it is built on alive. */
export abstract class IommufdObject extends Closable {
  /** The object's number in its iommufd. */
  readonly id: number;
  /** What is built on it. @internal */
  readonly dependents = new Set<Child>();

  /** @internal */
  constructor(what: string, owned: Owned, keepers: readonly Keeper[]) {
    const args = { [what.toLowerCase().replace(' ', '')]: owned.id };
    const end: End<IommufdObject> = {
      ...{ what, canFail: true, behindCalls: true },
      children: (object) => object.dependents,
      close: (object) => {
        object.leave();
        kernelCall(args, () => owned.destroy());
      },
      closeLater: async (object) => {
        await object.leaveLater();
        await kernelCallAsync(args, () => owned.destroyLater());
      },
      release: () => owned.release(),
      gone: (object) => {
        for (const { dependents } of keepers) dependents.delete(object);
      },
    };
    super(end);
    this.id = owned.id;
    for (const { dependents } of keepers) dependents.add(this);
  }

  /** What must end before the object is destroyed. @internal */
  leave(): void {
    return;
  }

  /** @internal */
  leaveLater(): Promise<void> {
    this.leave();
    return Promise.resolve();
  }

  /**
   * Closes what is built on it, and destroys the object (IOMMU_DESTROY). If calls are under way on pool threads, that
   * happens behind them.
   *
   * @throws KernelError EBUSY: something else uses it, of another process or object.
   */
  override close(): void {
    super.close();
  }

  /** @internal */
  abandon(): void {
    this.life.abandon();
  }

  /** close() on a pool thread, for `await using`. Waits for calls that are under way. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}
