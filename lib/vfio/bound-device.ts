// A VFIO device in an iommufd: bind, attach, detach.
import { join } from 'node:path';
import { linked } from '../kernel/look';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { Hwpt } from '../iommufd/hwpt';
import { Iommufd } from '../iommufd/iommufd';
import { Ioas } from '../iommufd/ioas';
import { native, type HwptHandle, type IoasHandle, type VfioHandle } from '../addon/native';
import { instance, options } from '../errors/validate';
import { DeviceFile } from './device-file';
import { toVfToken } from './vf-token';

/** How to bind a device. */
export interface BindOptions {
  /**
   * A UUID, in SR-IOV: a virtual function whose physical one VFIO has wants the token that was set there, and so does the
   * physical function itself while virtual ones are in use; while none is, a token given here is set.
   */
  vfToken?: string;
}

function toToken(opts: BindOptions | undefined): Uint8Array | undefined {
  const { vfToken } = options(opts);
  return vfToken === undefined ? undefined : toVfToken(vfToken, 'vfToken');
}

/** A VFIO device's place in an iommufd, and what its DMA goes through. */
export abstract class BoundDevice extends DeviceFile {
  #iommufd: Iommufd | undefined;
  #id: number | undefined;
  #table: Ioas | Hwpt | undefined;
  #leaving: Promise<void> | undefined;

  /** The iommufd that this object bound the device to, or that its group is in. */
  get iommufd(): Iommufd | undefined {
    if (this.#iommufd) return this.#iommufd;
    const holder = this.group?.container;
    return holder instanceof Iommufd ? holder : undefined;
  }

  /** The device's number in its iommufd, once bound. */
  get id(): number | undefined {
    return this.#id;
  }

  /** What the device's DMA goes through: the IOAS that it is attached to, itself or by one of its page tables. */
  get ioas(): Ioas | undefined {
    return this.#table instanceof Hwpt ? this.#table.ioas : this.#table;
  }

  /** The page table that the device is attached to; undefined: an IOAS itself, or nothing. */
  get hwpt(): Hwpt | undefined {
    return this.#table instanceof Hwpt ? this.#table : undefined;
  }

  /**
   * Binds the device to an iommufd (VFIO_DEVICE_BIND_IOMMUFD). From then on it can be used, and it is closed before the iommufd.
   *
   * @throws KernelError EINVAL: bound already. EPERM: another device of the IOMMU group has a driver of the kernel or
   *   another iommufd, or interrupts are not isolated. EBUSY: the group is open through /dev/vfio/GROUP. EACCES: a VF token
   *   is wanted, or another one. EBADFD: not an iommufd.
   */
  async bind(iommufd: Iommufd, opts?: BindOptions): Promise<void> {
    const [device, parent, token] = [this.handle, instance(iommufd, 'iommufd', Iommufd).handle, toToken(opts)];
    this.#bound(
      iommufd,
      await this.track(
        kernelCallAsync(this.#toBind(token), () => native.vfioBind(device, parent, token, true), this.around()),
      ),
    );
  }

  /** {@link bind}, waiting. */
  bindSync(iommufd: Iommufd, opts?: BindOptions): void {
    const [device, parent, token] = [this.handle, instance(iommufd, 'iommufd', Iommufd).handle, toToken(opts)];
    this.#bound(
      iommufd,
      kernelCall(this.#toBind(token), () => native.vfioBind(device, parent, token, false), this.around()),
    );
  }

  #toBind(token: Uint8Array | undefined) {
    return { ...this.args(), vfToken: token && 'given' };
  }

  #bound(iommufd: Iommufd, id: number): void {
    if (this.closed || iommufd.closed) {
      this.close();
      throw closedError(iommufd.closed ? 'iommufd' : 'VFIO device');
    }
    this.#iommufd = iommufd;
    this.#id = id;
    iommufd.adopt(this);
  }

  /**
   * Attaches the device to an IOAS or a page table of one (VFIO_DEVICE_ATTACH_IOMMUFD_PT): its DMA goes through that from now
   * on. If it was attached elsewhere, it moves, and so do the others of its IOMMU group that are attached.
   *
   * @throws Error ERR_OTHER_IOMMUFD: an IOAS of another iommufd. KernelError EINVAL: not bound, a page table that its IOMMU
   *   cannot use, or another device of its IOMMU group is attached elsewhere. EADDRINUSE: mappings where this device cannot have any. ENOMEM: the first device has the mapped host memory
   *   pinned, which went over RLIMIT_MEMLOCK.
   */
  async attach(table: Ioas | Hwpt): Promise<void> {
    const { args, around, call } = this.#toAttach(table);
    const attach = async () => {
      await kernelCallAsync(args, () => native.vfioAttach(...call, true), around);
      this.#attached(table);
    };
    // Both wait for it when they are closed, and detach.
    await this.track(table.calls.add(attach()));
    if (this.closed || table.closed) throw closedError(table.closed ? nameOf(table) : 'VFIO device');
  }

  /** {@link attach}, waiting. */
  attachSync(table: Ioas | Hwpt): void {
    const { args, around, call } = this.#toAttach(table);
    kernelCall(args, () => native.vfioAttach(...call, false), around);
    this.#attached(table);
  }

  #toAttach(table: Ioas | Hwpt) {
    const call: readonly [VfioHandle, IoasHandle | HwptHandle] = [this.handle, this.#pageTable(table)];
    const [ioas, id] = table instanceof Hwpt ? [table.ioas, { hwpt: table.id }] : [table, { ioas: table.id }];
    return { args: { ...this.args(), ...id }, around: { ...this.around(), ioas }, call };
  }

  #pageTable(table: Ioas | Hwpt): IoasHandle | HwptHandle {
    const { handle } = table instanceof Hwpt ? table : instance(table, 'table', Ioas);
    // Numbers are per iommufd: in another one, the same number is another object.
    const [mine, its] = [this.#iommufd, table.iommufd];
    if (mine && mine !== its && !mine.duplicated && !its.duplicated) {
      const what = nameOf(table);
      throw codedError(
        'ERR_OTHER_IOMMUFD',
        `the ${what} belongs to another iommufd than the one the device is bound to`,
      );
    }
    return handle;
  }

  #attached(table: Ioas | Hwpt | undefined): void {
    const old = this.#table;
    this.#stand(table);
    if (!old || !table || old === table) return;
    // An IOMMU group has one page table: those of the group that are attached move with a device that does.
    for (const other of [...old.attached]) {
      if (other instanceof BoundDevice && this.sharesGroup(other)) other.#stand(table);
    }
  }

  /** Whether the devices are of one IOMMU group, as far as that can be seen. @internal */
  protected sharesGroup(other: BoundDevice): boolean {
    const group = iommuGroup(this);
    return group !== undefined && iommuGroup(other) === group;
  }

  #stand(table: Ioas | Hwpt | undefined): void {
    this.#table?.attached.delete(this);
    this.#table = this.released ? undefined : table;
    this.#table?.attached.add(this);
  }

  /** Detaches the device (VFIO_DEVICE_DETACH_IOMMUFD_PT): its DMA is blocked from now on. No error if it is not attached. */
  async detach(): Promise<void> {
    const [device, args] = [this.handle, this.args()];
    const call = async () => {
      await kernelCallAsync(args, () => native.vfioDetach(device, true));
      this.#attached(undefined);
    };
    await this.track(call());
  }

  /** {@link detach}, waiting. */
  detachSync(): void {
    const device = this.handle;
    kernelCall(this.args(), () => {
      native.vfioDetach(device, false);
    });
    this.#attached(undefined);
  }

  /** @internal */
  override leave(): void {
    if (!this.#table) return;
    kernelCall(this.args(), () => {
      native.vfioDetach(this.lastHandle, false);
    });
    this.#attached(undefined);
  }

  /** @internal */
  override leaveLater(): Promise<void> {
    this.#leaving ??= this.#leaveOnce().finally(() => (this.#leaving = undefined));
    return this.#leaving;
  }

  async #leaveOnce(): Promise<void> {
    if (!this.#table) return;
    await kernelCallAsync(this.args(), () => native.vfioDetach(this.lastHandle, true));
    this.#attached(undefined);
  }

  /** @internal */
  protected override gone(): void {
    this.#iommufd?.forget(this);
  }
}

function iommuGroup({ kernel, address }: BoundDevice): string | undefined {
  return address === undefined ? undefined : linked(join(kernel.sysfs, 'bus/pci/devices', address, 'iommu_group'));
}

function nameOf(table: Ioas | Hwpt): string {
  return table instanceof Hwpt ? 'HWPT' : 'IOAS';
}
