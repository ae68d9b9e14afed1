// Hardware page tables, nested ones, and which pages devices wrote to.
import type { Parents } from '../lifetime/parents';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { native, type HwptHandle } from '../addon/native';
import { boolean, instance, options } from '../errors/validate';
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

/** What a page table is to be able to do. */
export interface HwptOptions {
  /** Others can be nested in it ({@link Hwpt.allocNested}). Default false. */
  nestParent?: boolean | undefined;
  /** It can tell which pages devices wrote to. Default false. */
  dirtyTracking?: boolean | undefined;
  /** It can be attached to a PASID, and to a device that has others attached to PASIDs. Default false. */
  pasid?: boolean | undefined;
  /** What its IOMMU's driver wants to know. */
  data?: HwptData | undefined;
  /** Where devices that are attached to it ask for pages that are not mapped. Default: nowhere, such accesses fail. */
  faultQueue?: FaultQueue | undefined;
}

/** What a nested page table is to be able to do. */
export interface NestedHwptOptions {
  /** It can be attached to a PASID. Default false. */
  pasid?: boolean | undefined;
  /** Where devices that are attached to it ask for pages that are not mapped. Default: nowhere, such accesses fail. */
  faultQueue?: FaultQueue | undefined;
}

// linux/iommufd.h: IOMMU_HWPT_ALLOC_*
const allocFlags = { nestParent: 1, dirtyTracking: 2, pasid: 8 } as const;

function toFlags(opts: Partial<Record<keyof typeof allocFlags, boolean | undefined>>): number {
  let flags = 0;
  for (const name of Object.keys(allocFlags) as (keyof typeof allocFlags)[]) {
    if (boolean(opts[name] ?? false, name)) flags |= allocFlags[name];
  }
  return flags;
}

/** An IOAS, a page table or a virtual IOMMU: what the next one is built on. */
type Parent = Pick<
  Parents['Ioas'] | Hwpt | Parents['Viommu'],
  'iommufd' | 'id' | 'handle' | 'calls' | 'closed' | 'dependents'
>;

/**
 * A hardware page table: what the IOMMU in front of a device translates by. One that is made from an {@link Ioas} holds
 * all that is mapped there, now and later; a nested one is a guest's, which the IOMMU walks before its parent.
 *
 * Attaching a device to an IOAS makes one by itself. Those that are made here can do what {@link HwptOptions} says.
 */
export class Hwpt extends IommufdObject {
  readonly iommufd: Parents['Iommufd'];
  /** What its addresses lead through: mappings are made there. */
  readonly ioas: Parents['Ioas'];
  /** The page table that this one is nested in. */
  readonly parent: Hwpt | undefined;
  /** Devices attached here. @internal */
  readonly attached = new Set<Attached>();
  readonly #handle: HwptHandle;

  /** `keepers`: what it is built on. @internal */
  constructor(handle: HwptHandle, ioas: Parents['Ioas'], nestedIn: Hwpt | undefined, keepers: readonly Keeper[]) {
    super('HWPT', owned(native.hwpt, handle), keepers);
    this.#handle = handle;
    this.iommufd = ioas.iommufd;
    this.ioas = ioas;
    this.parent = nestedIn;
  }

  /** @internal */
  static async alloc(ioas: Parents['Ioas'], device: IommufdDevice, opts?: HwptOptions): Promise<Hwpt> {
    const what = options(opts);
    const { args, call, keepers } = toAlloc(ioas, device, toFlags(what), what.data, what.faultQueue);
    return make(ioas, async () => {
      const handle = await kernelCallAsync(args, () => native.hwptAllocate(...call, true), { ioas });
      return new Hwpt(handle, ioas, undefined, keepers);
    });
  }

  /** @internal */
  static allocSync(ioas: Parents['Ioas'], device: IommufdDevice, opts?: HwptOptions): Hwpt {
    const what = options(opts);
    const { args, call, keepers } = toAlloc(ioas, device, toFlags(what), what.data, what.faultQueue);
    const handle = kernelCall(args, () => native.hwptAllocate(...call, false), { ioas });
    return new Hwpt(handle, ioas, undefined, keepers);
  }

  /**
   * Makes a page table that is nested in this one (IOMMU_HWPT_ALLOC), which must be a nesting parent.
   *
   * @param device one behind an IOMMU that the table is for
   * @param data where the guest's own page table is, in the format of the device's IOMMU
   * @throws KernelError EINVAL: this one is no nesting parent, or of another IOMMU. EOPNOTSUPP: the IOMMU has no nesting,
   *   or not of this format.
   */
  allocNested(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Promise<Hwpt> {
    return nest(this, this, device, data, opts);
  }

  /** {@link allocNested}, waiting. */
  allocNestedSync(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Hwpt {
    return nestSync(this, this, device, data, opts);
  }

  /**
   * Makes the IOMMU forget what it cached of this page table, which is nested, after the guest changed its own
   * (IOMMU_HWPT_INVALIDATE).
   *
   * @throws KernelError EINVAL: not nested, or an entry, or its type, does not suit the IOMMU; EOPNOTSUPP: a flag it does not
   *   know. `error.args.heeded` says how many entries were heeded before.
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
   * Begins or ends noting which pages devices write to (IOMMU_HWPT_SET_DIRTY_TRACKING). To begin makes every page clean.
   *
   * @throws KernelError EOPNOTSUPP: the table was made without `dirtyTracking`. ENOENT: a nested table.
   */
  setDirtyTracking(enable: boolean): void {
    const { handle } = this;
    boolean(enable, 'enable');
    kernelCall({ hwpt: this.id }, () => native.hwptSetDirtyTracking(handle, enable));
  }

  /**
   * Which pages of a range devices wrote to, as a bitmap (IOMMU_HWPT_GET_DIRTY_BITMAP): bit 0 of word 0 is the first page.
   * **The kernel looks no further than to the first IOVA of the range that is not mapped**, and says nothing.
   * {@link dirtyPages} has no such limit.
   *
   * @throws KernelError EINVAL: the range is not in whole pages, or not a multiple of the IOAS's alignment. EOPNOTSUPP:
   *   the table was made without `dirtyTracking`. EOVERFLOW: past the end of the IOVAs. RangeError: more than 2^30 pages.
   */
  dirtyBitmap(range: DirtyRange, opts?: DirtyOptions): BigUint64Array {
    const { pageSize, keep } = toDirtyOptions(opts);
    const { iova, length } = toDirtyRange(options(range, 'range'), pageSize);
    const { handle } = this;
    return kernelCall({ iova, length, pageSize }, () =>
      native.hwptGetDirtyBitmap(handle, iova, length, pageSize, keep),
    );
  }

  /**
   * Which pages devices wrote to, in ascending order, pages that touch as one (IOMMU_HWPT_GET_DIRTY_BITMAP). Of a range
   * (as {@link dirtyBitmap} does), or of all that this object's IOAS has mapped here.
   */
  dirtyPages(opts?: DirtyOptions & Partial<DirtyRange>): DirtyPages[] {
    const { iova, length } = options(opts);
    const { pageSize } = toDirtyOptions(opts);
    const ranges =
      iova === undefined && length === undefined
        ? this.ioas.mappings.sort((a, b) => (a.iova < b.iova ? -1 : 1))
        : [toDirtyRange({ iova, length } as DirtyRange, pageSize)];
    return ranges.flatMap((range) => toDirtyPages(this.dirtyBitmap(range, opts), range.iova, pageSize));
  }

  /** Detaches the devices attached here. @internal */
  override leave(): void {
    for (const device of [...this.attached]) device.leave();
  }

  /** @internal */
  override async leaveLater(): Promise<void> {
    for (const device of [...this.attached]) await device.leaveLater();
  }
}

/** A page table that is made from `parent` and nested in `below`. @internal */
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
    return new Hwpt(handle, below.ioas, below, keepers);
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
  return new Hwpt(handle, below.ioas, below, keepers);
}

function toNested(parent: Parent, device: IommufdDevice, data: HwptData, opts: NestedHwptOptions | undefined) {
  const { pasid, faultQueue } = options(opts);
  return toAlloc(parent, device, toFlags({ pasid }), options(data, 'data'), faultQueue);
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

/** Makes it on a pool thread; the parent waits for it when it is closed, and takes it along. */
async function make(parent: Parent, call: () => Promise<Hwpt>): Promise<Hwpt> {
  const hwpt = await parent.calls.add(call());
  if (parent.closed) throw closedError(parent instanceof Hwpt ? 'HWPT' : 'IOAS');
  return hwpt;
}
