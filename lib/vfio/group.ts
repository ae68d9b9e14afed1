// An IOMMU group, opened through /dev/vfio/N.
import { type FdHandle, native } from '../addon/native';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { Iommufd } from '../iommufd/iommufd';
import { toKernel } from '../kernel/default-kernel';
import { openNodeSync } from '../kernel/device-node';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { Child, End } from '../lifetime/lifetime';
import { iommuGroup, toAddress } from '../pci/sysfs';
import { integer, invalidType, options, outOfRange, string } from '../errors/validate';
import { VfioContainer } from './container';

/** Whether a group can be used. */
export interface GroupStatus {
  /** All devices of the group are VFIO's, or no driver's that does DMA. With a container set always true. */
  viable: boolean;
  /** The group is in a container, or in an iommufd. */
  containerSet: boolean;
}

// linux/vfio.h
const statusFlags = { viable: 1 << 0, containerSet: 1 << 1 } as const;
const mostGroups = 0x7fff_ffff;

function toNumber(target: string | number, kernel: Kernel): number {
  if (typeof target === 'number') return integer(target, 'target', 0, mostGroups);
  if (typeof target !== 'string') throw invalidType('target', 'of type string or number', target);
  string(target, 'target');
  if (!target.startsWith('/')) return iommuGroup(kernel.sysfs, toAddress(target));
  const number = /^\/dev\/vfio\/(\d{1,9})$/.exec(target)?.[1];
  if (number === undefined) throw outOfRange('target', "a path like '/dev/vfio/12'", target);
  return Number(number);
}

/** What a group is in. @internal */
type Holder = VfioContainer | Iommufd;

/**
 * An IOMMU group (/dev/vfio/N): the devices that the IOMMU cannot tell apart, which VFIO hands out together. It is VFIO's
 * older interface, for kernels without IOMMUFD; {@link VfioDevice.open} does by itself what is to be done with groups.
 */
export class VfioGroup extends Closable {
  readonly kernel: Kernel;
  /** The group's number, as in /sys/kernel/iommu_groups. */
  readonly number: number;
  readonly #fd: FdHandle;
  readonly #devices = new Set<Child>();
  #container: Holder | undefined;
  /** What closes this: also an iommufd that the group has left, and its open devices have not. */
  #parent: Holder | undefined;

  static readonly #end: End<VfioGroup> = {
    what: 'VFIO group',
    children: (group) => group.#devices,
    close: (group) => native.fdClose(group.#fd, false),
    closeLater: (group) => native.fdClose(group.#fd, true),
    gone: (group) => {
      group.#left();
      group.#parent?.forget(group);
      group.#parent = undefined;
    },
  };

  static readonly #inUse = new WeakMap<Holder, Set<VfioGroup>>();

  private constructor(kernel: Kernel, number: number, fd: FdHandle) {
    super(VfioGroup.#end);
    this.kernel = kernel;
    this.number = number;
    this.#fd = fd;
  }

  /**
   * Opens a group. That can be done once at a time, and while no device of it is bound through its character device.
   *
   * @param target the group's number, a path ('/dev/vfio/12'), or the PCI address of a device in it
   * @throws KernelError ENOENT: VFIO has no device of this group. EBUSY: it is open already, or one of its devices is bound to an
   *   iommufd. EACCES: this user may not open it. Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO, ERR_WRONG_NODE.
   */
  static open(target: string | number, opts?: { kernel?: Kernel }): VfioGroup {
    const kernel = toKernel(options(opts).kernel);
    const number = toNumber(target, kernel);
    const name = String(number);
    const node = { path: `/dev/vfio/${name}`, device: `IOMMU group ${name}`, numberFile: `class/vfio/${name}/dev` };
    return new VfioGroup(kernel, number, openNodeSync(kernel, node));
  }

  /** The groups that this thread's objects have put there. @internal */
  static inUse(holder: Holder): VfioGroup[] {
    return [...(this.#inUse.get(holder) ?? [])];
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#fd;
  }

  /** What this object has put the group in. */
  get container(): VfioContainer | Iommufd | undefined {
    return this.#container;
  }

  /** @internal */
  args(): { group: number } {
    return { group: this.number };
  }

  /** Whether the group can be used (VFIO_GROUP_GET_STATUS). */
  status(): GroupStatus {
    const flags = kernelCall(this.args(), () => native.groupStatus(this.handle));
    return { viable: (flags & statusFlags.viable) !== 0, containerSet: (flags & statusFlags.containerSet) !== 0 };
  }

  /**
   * Puts the group into a container, or into an iommufd (VFIO_GROUP_SET_CONTAINER): that is closed after it. In an iommufd,
   * the DMA of its devices goes through the IOAS that IOMMU_VFIO_IOAS tells, which is made if there is none.
   *
   * @throws KernelError EINVAL: in one already; or its IOVAs do not suit what is mapped there. EPERM: the group is not
   *   viable, or interrupts are not isolated. EBUSY: the container has addresses that are invalid. Error
   *   ERR_OTHER_KERNEL.
   */
  async setContainer(container: VfioContainer | Iommufd): Promise<void> {
    const [group, holder] = [this.handle, this.#toHolder(container)];
    const around = { kernel: this.kernel };
    await this.calls.add(kernelCallAsync(this.args(), () => native.groupSetContainer(group, holder, true), around));
    this.check();
    if (container.closed) {
      native.groupUnsetContainer(group, false);
      throw closedError('container');
    }
    this.#entered(container);
  }

  /** {@link setContainer}, waiting. */
  setContainerSync(container: VfioContainer | Iommufd): void {
    const [group, holder] = [this.handle, this.#toHolder(container)];
    kernelCall(this.args(), () => native.groupSetContainer(group, holder, false), { kernel: this.kernel });
    this.#entered(container);
  }

  #toHolder(container: VfioContainer | Iommufd): FdHandle {
    const isHolder = container instanceof VfioContainer || container instanceof Iommufd;
    if (!isHolder) throw invalidType('container', 'an instance of VfioContainer or Iommufd', container);
    const { handle } = container;
    if (container.kernel !== this.kernel) throw codedError('ERR_OTHER_KERNEL', 'the group belongs to another kernel');
    return handle;
  }

  #entered(container: Holder): void {
    this.#container = container;
    if (this.#parent !== container) this.#parent?.forget(this);
    this.#parent = container;
    container.adopt(this);
    const others = VfioGroup.#inUse.get(container);
    if (others) others.add(this);
    else VfioGroup.#inUse.set(container, new Set([this]));
  }

  /** The kernel has taken it out. */
  #left(): void {
    const container = this.#container;
    if (!container) return;
    this.#container = undefined;
    VfioGroup.#inUse.get(container)?.delete(this);
    if (this.#devices.size > 0 && container instanceof Iommufd) return;
    container.forget(this);
    this.#parent = undefined;
  }

  /**
   * Takes the group out of its container (VFIO_GROUP_UNSET_CONTAINER). With the last group, the container loses its IOMMU
   * and all that is mapped.
   *
   * @throws KernelError EBUSY: a device of the group is open. EINVAL: it is in none.
   */
  async unsetContainer(): Promise<void> {
    const group = this.handle;
    await this.calls.add(kernelCallAsync(this.args(), () => native.groupUnsetContainer(group, true)));
    this.#left();
  }

  /** {@link unsetContainer}, waiting. */
  unsetContainerSync(): void {
    const group = this.handle;
    kernelCall(this.args(), () => native.groupUnsetContainer(group, false));
    this.#left();
  }

  /** A device's file. `name`: its address, and options. @internal */
  async deviceFd(name: string): Promise<FdHandle> {
    const group = this.handle;
    const around = { kernel: this.kernel };
    const fd = await this.calls.add(
      kernelCallAsync({ ...this.args(), name }, () => native.groupDeviceFd(group, name, true), around),
    );
    if (!this.closed) return fd;
    native.fdClose(fd, false);
    throw closedError('VFIO group');
  }

  /** The same, waiting. @internal */
  deviceFdSync(name: string): FdHandle {
    return kernelCall({ ...this.args(), name }, () => native.groupDeviceFd(this.handle, name, false), {
      kernel: this.kernel,
    });
  }

  /** Notes a device that was opened here, to close it before the group. @internal */
  adopt(device: Child): void {
    this.#devices.add(device);
  }

  /** @internal */
  forget(device: Child): void {
    this.#devices.delete(device);
  }

  /**
   * Closes the devices that were opened through the group, and the group, which leaves its container. If one of them cannot be
   * closed, the rest is closed all the same, and its error is thrown at the end.
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on a pool thread, for `await using`: the kernel resets the devices and unpins memory. Waits for calls that are under
   * way. From the start on every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}
