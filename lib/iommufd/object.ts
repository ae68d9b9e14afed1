// IommufdObject: the base class of the objects of an iommufd. It tracks dependencies between objects and closes them in
// order.
import { kernelCall, kernelCallAsync } from '../errors/errors';
import { Closable } from '../lifetime/closable';
import type { Child, End } from '../lifetime/lifetime';
import type { NativeObject } from '../addon/native';

/** The native owner of the object. @internal */
export interface Owned {
  readonly id: number;
  destroy(): void;
  /** Releases this reference. The last release destroys the object. */
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

/** An object that closes its dependents before it is closed. @internal */
export interface Keeper {
  readonly dependents: { add(child: Child): unknown; delete(child: Child): unknown };
}

/**
 * An object of an iommufd. Objects that are built on it are closed before it. It keeps the objects alive that it is
 * built on.
 */
export abstract class IommufdObject extends Closable {
  /** The object ID in the iommufd. */
  readonly id: number;
  /** The objects that are built on this one. @internal */
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

  /** Detaches what must be detached before the object is destroyed. @internal */
  leave(): void {
    return;
  }

  /** @internal */
  leaveLater(): Promise<void> {
    this.leave();
    return Promise.resolve();
  }

  /**
   * Closes the objects that are built on this one, and destroys it (IOMMU_DESTROY). If calls are running on pool
   * threads, this happens after the last of them.
   *
   * @throws KernelError EBUSY: another object or process uses it.
   */
  override close(): void {
    super.close();
  }

  /** @internal */
  abandon(): void {
    this.life.abandon();
  }

  /** close() on another thread, for `await using`. Waits for running calls. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}
