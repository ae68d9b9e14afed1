import { Calls } from '../calls';
import { closedError, kernelCall, kernelCallAsync } from '../errors';
import { expectClose, wasClosed } from '../lost';
import { native, type HwptHandle } from '../native';
import { boolean, options } from '../validate';
import { boundId, type Dependent, type IommufdDevice } from './bound';
import {
  toDirtyOptions,
  toDirtyPages,
  toDirtyRange,
  type DirtyOptions,
  type DirtyPages,
  type DirtyRange,
} from './dirty';
import { encodeHwptData, type HwptData } from './hwpt-data';
import type { Attached, Ioas } from './ioas';
import type { Iommufd } from './iommufd';

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
}

/** What a nested page table is to be able to do. */
export interface NestedHwptOptions {
  /** It can be attached to a PASID. Default false. */
  pasid?: boolean | undefined;
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

/** An IOAS or a page table: what the next one is built on. */
type Parent = Pick<Ioas | Hwpt, 'iommufd' | 'id' | 'handle' | 'calls' | 'closed' | 'dependents'>;

/**
 * A hardware page table: what the IOMMU in front of a device translates by. One that is made from an {@link Ioas} holds
 * all that is mapped there, now and later; a nested one is a guest's, which the IOMMU walks before its parent.
 *
 * Attaching a device to an IOAS makes one by itself. Those that are made here can do what {@link HwptOptions} says.
 */
export class Hwpt {
  readonly iommufd: Iommufd;
  /** What its addresses lead through: mappings are made there. */
  readonly ioas: Ioas;
  /** The page table that this one is nested in. */
  readonly parent: Hwpt | undefined;
  /** The object's number in its iommufd. */
  readonly id: number;
  /** Devices attached here. @internal */
  readonly attached = new Set<Attached>();
  /** What is built on it. @internal */
  readonly dependents = new Set<Dependent>();
  /** @internal */
  readonly calls = new Calls();
  readonly #handle: HwptHandle;
  readonly #forget: (hwpt: Hwpt) => void;
  #closed = false;
  #closing: Promise<void> | undefined;

  /** `parent`: what keeps track of it. @internal */
  constructor(
    handle: HwptHandle,
    ioas: Ioas,
    nestedIn: Hwpt | undefined,
    parent: { readonly dependents: Set<Dependent> },
  ) {
    this.#handle = handle;
    this.iommufd = ioas.iommufd;
    this.ioas = ioas;
    this.parent = nestedIn;
    this.id = native.hwptId(handle);
    parent.dependents.add(this);
    this.#forget = (hwpt) => parent.dependents.delete(hwpt);
    expectClose(this, 'HWPT');
  }

  /** @internal */
  static async alloc(ioas: Ioas, device: IommufdDevice, opts?: HwptOptions): Promise<Hwpt> {
    const { args, call } = toAlloc(ioas, device, toFlags(options(opts)), opts?.data);
    return make(ioas, async () => {
      const handle = await kernelCallAsync(args, () => native.hwptAllocate(...call, true), { ioas });
      return new Hwpt(handle, ioas, undefined, ioas);
    });
  }

  /** @internal */
  static allocSync(ioas: Ioas, device: IommufdDevice, opts?: HwptOptions): Hwpt {
    const { args, call } = toAlloc(ioas, device, toFlags(options(opts)), opts?.data);
    const handle = kernelCall(args, () => native.hwptAllocate(...call, false), { ioas });
    return new Hwpt(handle, ioas, undefined, ioas);
  }

  /**
   * Makes a page table that is nested in this one (IOMMU_HWPT_ALLOC), which must be a nesting parent.
   *
   * @param device one behind an IOMMU that the table is for
   * @param data where the guest's own page table is, in the format of the device's IOMMU
   * @throws KernelError EINVAL: this one is no nesting parent, or of another IOMMU. EOPNOTSUPP: the IOMMU has no nesting,
   *   or not of this format.
   */
  async allocNested(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Promise<Hwpt> {
    const { args, call } = toAlloc(this, device, toFlags({ pasid: options(opts).pasid }), options(data, 'data'));
    return make(this, async () => {
      const handle = await kernelCallAsync(args, () => native.hwptAllocate(...call, true));
      return new Hwpt(handle, this.ioas, this, this);
    });
  }

  /** {@link allocNested}, waiting. */
  allocNestedSync(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Hwpt {
    const { args, call } = toAlloc(this, device, toFlags({ pasid: options(opts).pasid }), options(data, 'data'));
    return new Hwpt(
      kernelCall(args, () => native.hwptAllocate(...call, false)),
      this.ioas,
      this,
      this,
    );
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @internal */
  get handle(): HwptHandle {
    if (this.#closed) throw closedError('HWPT');
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
    kernelCall({ hwpt: this.id }, () => {
      native.hwptSetDirtyTracking(handle, enable);
    });
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

  /**
   * Closes what is nested in it, detaches the devices attached here, and destroys the page table (IOMMU_DESTROY). If calls
   * are under way on pool threads, that happens behind them.
   */
  close(): void {
    if (this.#closed) return;
    if (this.areUnderWay) {
      // Its error is nobody's: the kernel destroys the rest with the iommufd.
      this[Symbol.asyncDispose]().catch(() => undefined);
      return;
    }
    for (const child of [...this.dependents]) child.close();
    for (const device of [...this.attached]) device.leave();
    kernelCall({ hwpt: this.id }, () => {
      native.hwptDestroy(this.#handle);
    });
    this.#closed = true;
    this.#gone();
  }

  /** @internal */
  get areUnderWay(): boolean {
    return this.calls.areUnderWay || [...this.dependents].some((child) => child.areUnderWay);
  }

  /** @internal */
  abandon(): void {
    if (this.#closing) return; // it sees to that itself
    this.#closed = true;
    native.hwptRelease(this.#handle);
    this.#gone();
  }

  #gone(): void {
    for (const child of [...this.dependents]) child.abandon();
    wasClosed(this);
    this.#forget(this);
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** close() on a pool thread, for `await using`. Waits for calls that are under way. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#closed
      ? Promise.resolve()
      : this.#closeLater().finally(() => {
          this.#closing = Promise.resolve(); // its error was told
        });
    return this.#closing;
  }

  async #closeLater(): Promise<void> {
    this.#closed = true;
    try {
      await this.calls.idle();
      for (const child of [...this.dependents]) await child[Symbol.asyncDispose]();
      for (const device of [...this.attached]) await device.leaveLater();
      await kernelCallAsync({ hwpt: this.id }, () => native.hwptDestroyLater(this.#handle));
    } finally {
      native.hwptRelease(this.#handle);
      this.#gone();
    }
  }
}

function toAlloc(parent: Parent, device: IommufdDevice, flags: number, data: HwptData | undefined) {
  const id = boundId(device, parent.iommufd);
  const { type, bytes } = encodeHwptData(data);
  const call = [parent.handle, id, flags, type, bytes] as const;
  return { args: { parent: parent.id, device: id, dataType: type === 0 ? undefined : type }, call };
}

/** Makes it on a pool thread; the parent waits for it when it is closed, and takes it along. */
async function make(parent: Parent, call: () => Promise<Hwpt>): Promise<Hwpt> {
  const hwpt = await parent.calls.add(call());
  if (parent.closed) throw closedError('parent' in parent ? 'HWPT' : 'IOAS');
  return hwpt;
}
