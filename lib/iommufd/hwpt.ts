// Hardware page tables (HWPTs): allocation, nesting, and tracking of dirty pages.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { native, type HwptHandle } from '../addon/native';
import { boolean, fields, instance, options } from '../errors/validate';
import { boundId, type Attached, type IommufdDevice } from './bound';
import {
  toDirtyOptions,
  toDirtyPages,
  toDirtyRange,
  type DirtyOptions,
  type DirtyPages,
  type DirtyRange,
} from './dirty';
import { FaultQueue } from './fault-queue';
import { encodeHwptData, type HwptData } from './hwpt-data';
import { invalidate, type InvalidateData } from './invalidate';
import { IommufdObject, owned, type Keeper } from './object';

/** The properties of a page table. */
export interface HwptOptions {
  /** Other page tables can be nested in it ({@link Hwpt.allocNested}). Default: false. */
  nestParent?: boolean | undefined;
  /** It can track which pages devices wrote to. Default: false. */
  dirtyTracking?: boolean | undefined;
  /** It can be attached to a PASID, and to a device that has page tables attached to PASIDs. Default: false. */
  pasid?: boolean | undefined;
  /** Driver-specific data. */
  data?: HwptData | undefined;
  /**
   * The queue for requests of attached devices for pages that are not mapped. Default: none, and such accesses fail.
   */
  faultQueue?: FaultQueue | undefined;
}

/** The properties of a nested page table. */
export interface NestedHwptOptions {
  /** It can be attached to a PASID. Default: false. */
  pasid?: boolean | undefined;
  /**
   * The queue for requests of attached devices for pages that are not mapped. Default: none, and such accesses fail.
   */
  faultQueue?: FaultQueue | undefined;
}

// linux/iommufd.h: IOMMU_HWPT_ALLOC_*
const allocFlags = { nestParent: 1, dirtyTracking: 2, pasid: 8 } as const;

const hwptOptions = ['nestParent', 'dirtyTracking', 'pasid', 'data', 'faultQueue'] as const;

function toFlags(opts: Partial<Record<keyof typeof allocFlags, boolean | undefined>>): number {
  let flags = 0;
  for (const name of Object.keys(allocFlags) as (keyof typeof allocFlags)[]) {
    if (boolean(opts[name] ?? false, name)) flags |= allocFlags[name];
  }
  return flags;
}

/** The parent object of a page table: an IOAS, another page table or a virtual IOMMU. */
type Parent = Pick<
  Parents['Ioas'] | Hwpt | Parents['Viommu'],
  'iommufd' | 'id' | 'handle' | 'calls' | 'closed' | 'dependents'
>;

/**
 * A hardware page table (HWPT), which the IOMMU translates a device's DMA with. A page table of an {@link Ioas} always
 * contains all mappings of the IOAS. A nested page table belongs to a guest: the IOMMU walks it first and its parent
 * second.
 *
 * When a device is attached to an IOAS, the kernel allocates a page table itself. A page table that is allocated
 * explicitly has the properties in {@link HwptOptions}.
 */
export class Hwpt extends IommufdObject {
  readonly iommufd: Parents['Iommufd'];
  /** The IOAS that provides the mappings. */
  readonly ioas: Parents['Ioas'];
  /** The page table that this one is nested in. */
  readonly parent: Hwpt | undefined;
  /** The devices that are attached to this page table. @internal */
  readonly attached = new Set<Attached>();
  readonly #handle: HwptHandle;

  static {
    shown(this, 'closed', 'id', ['ioas', ({ ioas }) => ioas.id], ['parent', ({ parent }) => parent?.id]);
  }

  /** @param keepers the objects that it is built on @internal */
  constructor(
    made: Key,
    handle: HwptHandle,
    ioas: Parents['Ioas'],
    nestedIn: Hwpt | undefined,
    keepers: readonly Keeper[],
  ) {
    onlyInside(made, 'Hwpt', 'use Ioas#allocHwpt()');
    super('HWPT', owned(native.hwpt, handle), keepers);
    this.#handle = handle;
    this.iommufd = ioas.iommufd;
    this.ioas = ioas;
    this.parent = nestedIn;
  }

  /** @internal */
  static async alloc(ioas: Parents['Ioas'], device: IommufdDevice, opts?: HwptOptions): Promise<Hwpt> {
    const what = options(opts, hwptOptions);
    const { args, call, keepers } = toAlloc(ioas, device, toFlags(what), what.data, what.faultQueue);
    return make(ioas, async () => {
      const handle = await kernelCallAsync(args, () => native.hwptAllocate(...call, true), { ioas });
      return new Hwpt(key, handle, ioas, undefined, keepers);
    });
  }

  /** @internal */
  static allocSync(ioas: Parents['Ioas'], device: IommufdDevice, opts?: HwptOptions): Hwpt {
    const what = options(opts, hwptOptions);
    const { args, call, keepers } = toAlloc(ioas, device, toFlags(what), what.data, what.faultQueue);
    const handle = kernelCall(args, () => native.hwptAllocate(...call, false), { ioas });
    return new Hwpt(key, handle, ioas, undefined, keepers);
  }

  /**
   * Allocates a page table that is nested in this one (IOMMU_HWPT_ALLOC). This one must be a nesting parent.
   *
   * @param device a device behind the IOMMU that the page table is for
   * @param data describes the guest's page table, in the format of the device's IOMMU
   * @throws KernelError EINVAL: this page table is not a nesting parent, or belongs to another IOMMU. EOPNOTSUPP: the
   *   IOMMU does not support nesting, or not this format.
   */
  allocNested(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Promise<Hwpt> {
    return nest(this, this, device, data, opts);
  }

  /** Synchronous version of {@link allocNested}. */
  allocNestedSync(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Hwpt {
    return nestSync(this, this, device, data, opts);
  }

  /**
   * Invalidates the IOMMU's caches of this nested page table after the guest changed its own (IOMMU_HWPT_INVALIDATE).
   *
   * @throws KernelError EINVAL: the page table is not nested, or the IOMMU does not support an entry or its type.
   *   EOPNOTSUPP: an unknown flag. `error.args.heeded` is the number of entries that were processed before the error.
   */
  invalidate(data: InvalidateData): void {
    const { handle } = this;
    invalidate({ hwpt: this.id }, data, (...call) => native.hwptInvalidate(handle, ...call));
  }

  /** @internal */
  get handle(): HwptHandle {
    this.check();
    return this.#handle;
  }

  /**
   * Enables or disables tracking of dirty pages (IOMMU_HWPT_SET_DIRTY_TRACKING). Enabling clears all dirty bits.
   *
   * @throws KernelError EOPNOTSUPP: the page table was allocated without `dirtyTracking`. ENOENT: a nested page table.
   */
  setDirtyTracking(enable: boolean): void {
    const { handle } = this;
    boolean(enable, 'enable');
    kernelCall({ hwpt: this.id }, () => native.hwptSetDirtyTracking(handle, enable));
  }

  /**
   * Returns the dirty pages of a range as a bitmap (IOMMU_HWPT_GET_DIRTY_BITMAP). Bit 0 of word 0 is the first page.
   * **The kernel stops at the first IOVA of the range that is not mapped**, without an error. {@link dirtyPages}
   * without a range does not have this limit.
   *
   * @throws KernelError EINVAL: the range is not in whole pages, or not a multiple of the IOAS's alignment. EOPNOTSUPP:
   *   the page table was allocated without `dirtyTracking`. EOVERFLOW: the range ends after the last IOVA. RangeError:
   *   more than 2^30 pages.
   */
  dirtyBitmap(range: DirtyRange, opts?: DirtyOptions): BigUint64Array {
    const { pageSize, keep } = toDirtyOptions(opts);
    const { iova, length } = toDirtyRange(fields(range, 'range'), pageSize);
    const { handle } = this;
    return kernelCall({ iova, length, pageSize }, () =>
      native.hwptGetDirtyBitmap(handle, iova, length, pageSize, keep),
    );
  }

  /**
   * Returns the dirty pages in ascending order (IOMMU_HWPT_GET_DIRTY_BITMAP). Adjacent pages are merged into one range.
   * With `iova` and `length`: the pages of this range, as {@link dirtyBitmap} returns them. Without: the pages of all
   * mappings in {@link Ioas.mappings}.
   */
  dirtyPages(opts?: DirtyOptions & Partial<DirtyRange>): DirtyPages[] {
    const { iova, length, pageSize: given, keep } = options(opts, ['iova', 'length', 'pageSize', 'keep']);
    const how = { pageSize: given, keep };
    const { pageSize } = toDirtyOptions(how);
    const ranges =
      iova === undefined && length === undefined
        ? this.ioas.mappings.sort((a, b) => (a.iova < b.iova ? -1 : 1))
        : [toDirtyRange({ iova, length } as DirtyRange, pageSize)];
    return data(ranges.flatMap((range) => toDirtyPages(this.dirtyBitmap(range, how), range.iova, pageSize)));
  }

  /** Detaches the devices that are attached to this page table. @internal */
  override leave(): void {
    for (const device of [...this.attached]) device.leave();
  }

  /** @internal */
  override async leaveLater(): Promise<void> {
    for (const device of [...this.attached]) await device.leaveLater();
  }
}

/** Allocates a page table from `parent`, nested in `below`. @internal */
export async function nest(
  parent: Parent,
  below: Hwpt,
  device: IommufdDevice,
  data: HwptData,
  opts?: NestedHwptOptions,
): Promise<Hwpt> {
  const { args, call, keepers } = toNested(parent, device, data, opts);
  return make(parent, async () => {
    const handle = await kernelCallAsync(args, () => native.hwptAllocate(...call, true));
    return new Hwpt(key, handle, below.ioas, below, keepers);
  });
}

/** @internal */
export function nestSync(
  parent: Parent,
  below: Hwpt,
  device: IommufdDevice,
  data: HwptData,
  opts?: NestedHwptOptions,
): Hwpt {
  const { args, call, keepers } = toNested(parent, device, data, opts);
  const handle = kernelCall(args, () => native.hwptAllocate(...call, false));
  return new Hwpt(key, handle, below.ioas, below, keepers);
}

function toNested(parent: Parent, device: IommufdDevice, data: HwptData, opts: NestedHwptOptions | undefined) {
  const { pasid, faultQueue } = options(opts, ['pasid', 'faultQueue']);
  return toAlloc(parent, device, toFlags({ pasid }), fields(data, 'data'), faultQueue);
}

function toAlloc(
  parent: Parent,
  device: IommufdDevice,
  flags: number,
  data: HwptData | undefined,
  faultQueue: FaultQueue | undefined,
) {
  const id = boundId(device, parent.iommufd);
  const { type, bytes } = encodeHwptData(data);
  const keepers: Keeper[] = [parent];
  if (faultQueue !== undefined) {
    const queue = instance(faultQueue, 'faultQueue', FaultQueue);
    if (queue.iommufd !== parent.iommufd) {
      throw codedError('ERR_OTHER_IOMMUFD', 'the fault queue belongs to another iommufd');
    }
    keepers.push(queue);
  }
  const call = [parent.handle, id, flags, type, bytes, faultQueue?.handle] as const;
  const args = { parent: parent.id, device: id, dataType: type === 0 ? undefined : type, faultQueue: faultQueue?.id };
  return { args, call, keepers };
}

/** Allocates on another thread. If the parent is closed meanwhile, it waits for this call and closes the page table. */
async function make(parent: Parent, call: () => Promise<Hwpt>): Promise<Hwpt> {
  const hwpt = await parent.calls.add(call());
  if (parent.closed) throw closedError(parent instanceof Hwpt ? 'HWPT' : 'IOAS');
  return hwpt;
}
