// Iommufd: an open /dev/iommu, its IOASes and queues, and the devices that are bound to it.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { type FdHandle, type IoasHandle, native } from '../addon/native';
import { codedError, kernelCall } from '../errors/errors';
import { instance, integer, oneOf, options, string } from '../errors/validate';
import { duplicate } from '../kernel/duplicate';
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

/** Which RLIMIT_MEMLOCK is used: the user's or the process's. */
export type RlimitMode = 'user' | 'process';
// linux/iommufd.h: IOMMU_OPTION_RLIMIT_MODE. The index is the kernel's value.
const rlimitModes = ['user', 'process'] as const satisfies readonly RlimitMode[];

/** An open /dev/iommu. It owns I/O address spaces, and devices are bound to it. */
export class Iommufd extends Closable {
  readonly kernel: Kernel;
  /** Whether the fd is a duplicate. If so, another object may refer to the same iommufd. @internal */
  readonly duplicated: boolean;
  readonly #handle: FdHandle;
  /** Objects that are closed with it, before the IOASes. @internal */
  readonly dependents = new Set<Child>();
  readonly #ioases = new Set<Ioas>();
  static readonly #end: End<Iommufd> = {
    what: 'iommufd',
    children: (iommufd) => [...iommufd.dependents, ...iommufd.#ioases],
    close: (iommufd) => native.fdClose(iommufd.#handle, false),
    closeLater: (iommufd) => native.fdClose(iommufd.#handle, true),
  };

  static {
    shown(
      this,
      'closed',
      'fd',
      ['kernel', ({ kernel }) => kernel.name],
      ['ioases', (iommufd) => Array.from(iommufd.#ioases, ({ id }) => id)],
    );
  }

  private constructor(made: Key, kernel: Kernel, handle: FdHandle, duplicated: boolean) {
    onlyInside(made, 'Iommufd', 'use Iommufd.open() or Iommufd.fromFd()');
    super(Iommufd.#end);
    this.kernel = kernel;
    this.duplicated = duplicated;
    this.#handle = handle;
  }

  /**
   * Opens IOMMUFD.
   *
   * @param opts.path default: /dev/iommu
   * @throws KernelError ENOENT: this kernel has no IOMMUFD. EACCES: this user may not open it. Error ERR_WRONG_NODE:
   *   the file belongs to another device.
   */
  static open(opts?: { kernel?: Kernel; path?: string }): Iommufd {
    const { kernel: chosen, path: given } = options(opts, ['kernel', 'path']);
    const kernel = toKernel(chosen);
    const path = given === undefined ? '/dev/iommu' : string(given, 'path');
    return new Iommufd(key, kernel, openNodeSync(kernel, classNode(path, 'IOMMUFD', 'misc', 'iommu')), false);
  }

  /** Creates an object for an iommufd that is open already. The fd is duplicated. The caller still owns its own fd. */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): Iommufd {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    integer(fd, 'fd', 0, 0x7fff_ffff);
    return new Iommufd(key, kernel, duplicate(kernel, fd), true);
  }

  /** The file descriptor's number, for passing it on. This object owns it: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** Allocates an empty I/O address space (IOMMU_IOAS_ALLOC). */
  allocIoas(): Ioas {
    return this.#keep(kernelCall({}, () => native.ioasAllocate(this.handle)));
  }

  /**
   * Adopts an existing I/O address space by its object ID, for example one that another process allocated before it
   * passed on this iommufd. This object then owns it and destroys it on close. Its existing mappings can be unmapped by
   * IOVA.
   *
   * @throws KernelError ENOENT: there is no IOAS with this ID. Error ERR_IN_USE: this object owns it already.
   */
  adoptIoas(id: number): Ioas {
    const { handle } = this;
    integer(id, 'id', 1, 0x7fff_ffff);
    if ([...this.#ioases].some((ioas) => ioas.id === id)) {
      throw codedError('ERR_IN_USE', `IOAS ${String(id)} is an object of this iommufd already`);
    }
    return this.#keep(kernelCall({ ioas: id }, () => native.ioasAdopt(handle, id)));
  }

  /** Allocates a queue for page requests of devices (IOMMU_FAULT_QUEUE_ALLOC): see {@link HwptOptions.faultQueue}. */
  allocFaultQueue(): FaultQueue {
    return new FaultQueue(
      key,
      this,
      kernelCall({}, () => native.faultQueueAllocate(this.handle)),
    );
  }

  /**
   * Allocates a virtual IOMMU: a share of the physical IOMMU of a device (IOMMU_VIOMMU_ALLOC).
   *
   * @param parent a nesting parent ({@link HwptOptions.nestParent}) that maps the guest's physical memory
   * @throws KernelError EOPNOTSUPP: the device's IOMMU does not support virtual IOMMUs, or not this type. EINVAL: not a
   *   nesting parent, or the data do not match the type.
   */
  allocViommu(device: IommufdDevice, parent: Hwpt, data: ViommuData): Viommu {
    return Viommu.alloc(this, device, parent, data);
  }

  #keep(handle: IoasHandle): Ioas {
    const ioas = new Ioas(key, this, handle);
    this.#ioases.add(ioas);
    return ioas;
  }

  /**
   * Which RLIMIT_MEMLOCK pinned memory is charged to (IOMMU_OPTION). 'user' (the default): one limit for all processes
   * of the user. 'process': the limit of the process alone, as in VFIO's older interface. Can be set while the iommufd
   * has no objects.
   *
   * @throws KernelError EBUSY: there are IOASes or devices. EPERM: CAP_SYS_RESOURCE is required.
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
   * Charges all pinned memory to this process, instead of the process that mapped it (IOMMU_IOAS_CHANGE_PROCESS). Call
   * this after another process has passed on the iommufd. That process may then exit.
   *
   * @throws KernelError EINVAL: something other than memfds is mapped: a dma-buf, or memory by its address. ENOMEM:
   *   over this process's RLIMIT_MEMLOCK. EBUSY: a mapping is being made. ENOTTY: a kernel before 6.14.
   */
  changeProcess(): void {
    const { handle } = this;
    kernelCall({}, () => native.iommufdChangeProcess(handle));
  }

  /**
   * Returns the object ID of the IOAS that VFIO's older container ioctls on this iommufd use (IOMMU_VFIO_IOAS).
   * Undefined: none.
   */
  getVfioIoas(): number | undefined {
    return kernelCall({}, () => native.iommufdVfioIoas(this.handle));
  }

  /**
   * Sets the IOAS that VFIO's older container ioctls use (IOMMU_VFIO_IOAS). Undefined: none.
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
   * Returns the properties of a device's IOMMU (IOMMU_GET_HW_INFO).
   *
   * @param opts.type the type of information, if the driver supports several
   * @throws KernelError EOPNOTSUPP: the driver does not support this type. ENOENT: the device was removed. Error
   *   ERR_NOT_BOUND, ERR_OTHER_IOMMUFD.
   */
  hwInfo(device: IommufdDevice, opts?: { type?: HwInfoType }): HwInfo {
    const { type } = options(opts, ['type']);
    const number =
      type === undefined ? undefined : hwInfoTypes[oneOf(type, 'type', Object.keys(hwInfoTypes) as HwInfoType[])];
    const id = boundId(device, this);
    return toHwInfo(kernelCall({ device: id, type }, () => native.iommufdHwInfo(this.handle, id, number)));
  }

  /** Registers a device that is bound to this iommufd. @internal */
  adopt(device: Child): void {
    this.dependents.add(device);
  }

  /** @internal */
  forget(child: Child): void {
    if (child instanceof Ioas) this.#ioases.delete(child);
    else this.dependents.delete(child);
  }

  /**
   * Closes the devices that are bound to it, then the IOASes, then the fd. If closing one of them fails, the rest is
   * closed anyway, and the first error is thrown at the end. The kernel frees the remaining resources with the last fd.
   * If calls are running on other threads, the fd is closed after the last of them. `[Symbol.asyncDispose]()` waits for
   * them, also after close().
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on other threads, for `await using`: the kernel resets devices and unpins memory. Waits for running calls.
   * From the start, every method throws ERR_CLOSED.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.life.closeLater();
  }
}
