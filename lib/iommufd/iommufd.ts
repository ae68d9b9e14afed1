// An open /dev/iommu: its IOASes, its queues, and the devices that are bound to it.
import { type FdHandle, type IoasHandle, native } from '../addon/native';
import { codedError, kernelCall } from '../errors/errors';
import { instance, integer, oneOf, options, string } from '../errors/validate';
import { toKernel } from '../kernel/default-kernel';
import { classNode, openNodeSync } from '../kernel/device-node';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { Child, End } from '../lifetime/lifetime';
import { boundId, type IommufdDevice } from './bound';
import { FaultQueue } from './fault-queue';
import { hwInfoTypes, toHwInfo, type HwInfo, type HwInfoType } from './hw-info';
import type { Hwpt } from './hwpt';
import { Ioas } from './ioas';
import { Viommu, type ViommuData } from './viommu';

/** Whose limit of locked memory counts. */
export type RlimitMode = 'user' | 'process';
// linux/iommufd.h: IOMMU_OPTION_RLIMIT_MODE, by value
const rlimitModes = ['user', 'process'] as const satisfies readonly RlimitMode[];

/** An open /dev/iommu: the owner of I/O address spaces, to which devices are bound. */
export class Iommufd extends Closable {
  readonly kernel: Kernel;
  /** Whether the fd is a duplicate: then another object may stand for the same iommufd. @internal */
  readonly duplicated: boolean;
  readonly #handle: FdHandle;
  /** What is closed with it, and before IOASes. @internal */
  readonly dependents = new Set<Child>();
  readonly #ioases = new Set<Ioas>();
  static readonly #end: End<Iommufd> = {
    what: 'iommufd',
    children: (iommufd) => [...iommufd.dependents, ...iommufd.#ioases],
    close: (iommufd) => native.fdClose(iommufd.#handle, false),
    closeLater: (iommufd) => native.fdClose(iommufd.#handle, true),
  };

  private constructor(kernel: Kernel, handle: FdHandle, duplicated: boolean) {
    super(Iommufd.#end);
    this.kernel = kernel;
    this.duplicated = duplicated;
    this.#handle = handle;
  }

  /**
   * Opens IOMMUFD.
   *
   * @param opts.path default /dev/iommu
   * @throws KernelError ENOENT: this kernel has no IOMMUFD. EACCES: this user may not open it. Error ERR_WRONG_NODE: the file is
   *   another device.
   */
  static open(opts?: { kernel?: Kernel; path?: string }): Iommufd {
    const { kernel: chosen, path: given } = options(opts);
    const kernel = toKernel(chosen);
    const path = given === undefined ? '/dev/iommu' : string(given, 'path');
    return new Iommufd(kernel, openNodeSync(kernel, classNode(path, 'IOMMUFD', 'misc', 'iommu')), false);
  }

  /** An iommufd that somebody else opened. The fd is duplicated: the caller's own stays open and the caller's. */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): Iommufd {
    const kernel = toKernel(options(opts).kernel);
    integer(fd, 'fd', 0, 0x7fff_ffff);
    return new Iommufd(
      kernel,
      kernelCall({ fd }, () => native.fdDuplicate(kernel.handle, fd)),
      true,
    );
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** A new, empty I/O address space (IOMMU_IOAS_ALLOC). */
  allocIoas(): Ioas {
    return this.#keep(kernelCall({}, () => native.ioasAllocate(this.handle)));
  }

  /**
   * An I/O address space that somebody else made, by its number: a process that handed this iommufd over. From now on it is
   * this object's, and destroyed with it. What is mapped in it can be unmapped and copied by its IOVAs.
   *
   * @throws KernelError ENOENT: there is no IOAS of this number. Error ERR_IN_USE: it is this object's already.
   */
  adoptIoas(id: number): Ioas {
    const { handle } = this;
    integer(id, 'id', 1, 0x7fff_ffff);
    if ([...this.#ioases].some((ioas) => ioas.id === id)) {
      throw codedError('ERR_IN_USE', `IOAS ${String(id)} is an object of this iommufd already`);
    }
    return this.#keep(kernelCall({ ioas: id }, () => native.ioasAdopt(handle, id)));
  }

  /** A new queue for the page requests of devices (IOMMU_FAULT_QUEUE_ALLOC): see {@link HwptOptions.faultQueue}. */
  allocFaultQueue(): FaultQueue {
    return new FaultQueue(
      this,
      kernelCall({}, () => native.faultQueueAllocate(this.handle)),
    );
  }

  /**
   * A new virtual IOMMU, a share of the physical one in front of a device (IOMMU_VIOMMU_ALLOC).
   *
   * @param parent a nesting parent ({@link HwptOptions.nestParent}), for what the guest takes for physical memory
   * @throws KernelError EOPNOTSUPP: the device's IOMMU has none, or not of this type. EINVAL: not a nesting parent; or the data
   *   do not suit the type.
   */
  allocViommu(device: IommufdDevice, parent: Hwpt, data: ViommuData): Viommu {
    return Viommu.alloc(this, device, parent, data);
  }

  #keep(handle: IoasHandle): Ioas {
    const ioas = new Ioas(this, handle);
    this.#ioases.add(ioas);
    return ioas;
  }

  /**
   * Whose RLIMIT_MEMLOCK pinned memory is charged to (IOMMU_OPTION): that of the 'user' (the default), all of whose processes
   * together have it, or that of the 'process' alone, as with VFIO's older interface. Can be set while the iommufd is empty.
   *
   * @throws KernelError EBUSY: there are IOASes or devices. EPERM: wants CAP_SYS_RESOURCE.
   */
  get rlimitMode(): RlimitMode {
    return rlimitModes[kernelCall({}, () => native.iommufdRlimitMode(this.handle))] ?? 'user';
  }

  set rlimitMode(mode: RlimitMode) {
    const { handle } = this;
    const number = rlimitModes.indexOf(oneOf(mode, 'rlimitMode', rlimitModes));
    kernelCall({ mode }, () => native.iommufdSetRlimitMode(handle, number));
  }

  /**
   * Charges this process for all that is pinned (IOMMU_IOAS_CHANGE_PROCESS), in place of the one that mapped it, which handed
   * the iommufd over and may end.
   *
   * @throws KernelError EINVAL: something other than memfds is mapped: a dma-buf, or memory by its address. ENOMEM: over this
   *   process's RLIMIT_MEMLOCK. EBUSY: a mapping is just being made. ENOTTY: a kernel before 6.14.
   */
  changeProcess(): void {
    const { handle } = this;
    kernelCall({}, () => native.iommufdChangeProcess(handle));
  }

  /**
   * The number of the IOAS that requests of VFIO's older container interface on this iommufd's fd mean (IOMMU_VFIO_IOAS);
   * undefined: none.
   */
  getVfioIoas(): number | undefined {
    return kernelCall({}, () => native.iommufdVfioIoas(this.handle));
  }

  /**
   * Chooses that IOAS; undefined: none (IOMMU_VFIO_IOAS).
   *
   * @throws Error ERR_OTHER_IOMMUFD: an IOAS of another iommufd.
   */
  setVfioIoas(ioas: Ioas | undefined): void {
    const { handle } = this;
    if (ioas === undefined) {
      kernelCall({}, () => native.iommufdClearVfioIoas(handle));
      return;
    }
    const chosen = instance(ioas, 'ioas', Ioas);
    if (chosen.iommufd !== this) throw codedError('ERR_OTHER_IOMMUFD', 'the IOAS belongs to another iommufd');
    const table = chosen.handle;
    kernelCall({ ioas: chosen.id }, () => native.iommufdSetVfioIoas(handle, table));
  }

  /**
   * What a device's IOMMU is and can do (IOMMU_GET_HW_INFO).
   *
   * @param opts.type the format in which the IOMMU is to be told of, where its driver has several
   * @throws KernelError EOPNOTSUPP: the driver does not know this format. ENOENT: the device is gone. Error
   *   ERR_NOT_BOUND, ERR_OTHER_IOMMUFD.
   */
  hwInfo(device: IommufdDevice, opts?: { type?: HwInfoType }): HwInfo {
    const { type } = options(opts);
    const number =
      type === undefined ? undefined : hwInfoTypes[oneOf(type, 'type', Object.keys(hwInfoTypes) as HwInfoType[])];
    const id = boundId(device, this);
    return toHwInfo(kernelCall({ device: id, type }, () => native.iommufdHwInfo(this.handle, id, number)));
  }

  /** Notes a device that is bound here. @internal */
  adopt(device: Child): void {
    this.dependents.add(device);
  }

  /** @internal */
  forget(child: Child): void {
    if (child instanceof Ioas) this.#ioases.delete(child);
    else this.dependents.delete(child);
  }

  /**
   * Closes the devices bound here, then the IOASes, then the fd. If one of them cannot be closed, the rest is closed all the
   * same, and its error is thrown at the end: the kernel cleans up with the last fd. That closes behind the calls that are
   * under way on pool threads; `[Symbol.asyncDispose]()` waits for them, also afterwards.
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on pool threads, for `await using`: the kernel resets devices and unpins memory. Waits for calls that are under
   * way. From the start on every method throws ERR_CLOSED.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.life.closeLater();
  }
}
