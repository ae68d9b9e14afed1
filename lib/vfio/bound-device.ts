// A VFIO device in an iommufd: bind, attach, detach.
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors';
import { Iommufd } from '../iommufd/iommufd';
import { Ioas } from '../iommufd/ioas';
import { native, type IoasHandle } from '../native';
import { instance } from '../validate';
import { DeviceFile } from './device-file';

/** A VFIO device's place in an iommufd, and what its DMA goes through. */
export abstract class BoundDevice extends DeviceFile {
  #iommufd: Iommufd | undefined;
  #id: number | undefined;
  #ioas: Ioas | undefined;
  #leaving: Promise<void> | undefined;

  /** The iommufd that this object bound the device to. */
  get iommufd(): Iommufd | undefined {
    return this.#iommufd;
  }

  /** The device's number in its iommufd, once bound. */
  get id(): number | undefined {
    return this.#id;
  }

  /** What the device is attached to. */
  get ioas(): Ioas | undefined {
    return this.#ioas;
  }

  /**
   * Binds the device to an iommufd. From then on it can be used, and it is closed before the iommufd.
   *
   * @throws KernelError EINVAL: bound already. EPERM: another device of the IOMMU group has a driver of the kernel or
   *   another iommufd, or interrupts are not isolated. EBUSY: the group is open through /dev/vfio/GROUP. EACCES: a VF token
   *   is wanted. EBADFD: not an iommufd.
   */
  async bind(iommufd: Iommufd): Promise<void> {
    const [device, parent] = [this.handle, instance(iommufd, 'iommufd', Iommufd).handle];
    this.#bound(
      iommufd,
      await this.track(kernelCallAsync(this.args(), () => native.vfioBind(device, parent, true), this.around())),
    );
  }

  /** {@link bind}, waiting. */
  bindSync(iommufd: Iommufd): void {
    const [device, parent] = [this.handle, instance(iommufd, 'iommufd', Iommufd).handle];
    this.#bound(
      iommufd,
      kernelCall(this.args(), () => native.vfioBind(device, parent, false), this.around()),
    );
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
   * Attaches the device to an IOAS: its DMA goes through that from now on. If it was attached elsewhere, it moves.
   *
   * @throws Error ERR_OTHER_IOMMUFD: an IOAS of another iommufd. KernelError EINVAL: not bound. EADDRINUSE: mappings where this device
   *   cannot have any. ENOMEM: the first device has the mapped host memory pinned, which went over RLIMIT_MEMLOCK.
   */
  async attach(ioas: Ioas): Promise<void> {
    const [device, table] = [this.handle, this.#pageTable(ioas)];
    const args = { ...this.args(), ioas: ioas.id };
    const around = { ...this.around(), ioas };
    const call = async () => {
      await kernelCallAsync(args, () => native.vfioAttach(device, table, true), around);
      this.#attached(ioas);
    };
    // Both wait for it when they are closed, and detach.
    await this.track(ioas.calls.add(call()));
    if (this.closed || ioas.closed) throw closedError(ioas.closed ? 'IOAS' : 'VFIO device');
  }

  /** {@link attach}, waiting. */
  attachSync(ioas: Ioas): void {
    const [device, table] = [this.handle, this.#pageTable(ioas)];
    const around = { ...this.around(), ioas };
    kernelCall({ ...this.args(), ioas: ioas.id }, () => native.vfioAttach(device, table, false), around);
    this.#attached(ioas);
  }

  #pageTable(ioas: Ioas): IoasHandle {
    const { handle } = instance(ioas, 'ioas', Ioas);
    // Numbers are per iommufd: in another one, the same number is another IOAS.
    const [mine, its] = [this.#iommufd, ioas.iommufd];
    if (mine && mine !== its && !mine.duplicated && !its.duplicated) {
      throw codedError('ERR_OTHER_IOMMUFD', 'the IOAS belongs to another iommufd than the one the device is bound to');
    }
    return handle;
  }

  #attached(ioas: Ioas | undefined): void {
    this.#ioas?.attached.delete(this);
    this.#ioas = this.released ? undefined : ioas;
    this.#ioas?.attached.add(this);
  }

  /** Detaches the device from its IOAS: its DMA is blocked from now on. No error if it is not attached. */
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
    if (!this.#ioas) return;
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
    if (!this.#ioas) return;
    await kernelCallAsync(this.args(), () => native.vfioDetach(this.lastHandle, true));
    this.#attached(undefined);
  }

  /** @internal */
  protected override gone(): void {
    this.#iommufd?.forget(this);
  }
}
