// VfioGroup: an IOMMU group, opened through /dev/vfio/N.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
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
  /**
   * Every device of the group is bound to VFIO, to no driver, or to a driver that does no DMA. Always true with a
   * container set.
   */
  viable: boolean;
  /** The group is in a container or an iommufd. */
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

/** The container or iommufd that a group is in. @internal */
type Holder = VfioContainer | Iommufd;

/**
 * An IOMMU group (/dev/vfio/N): devices that the IOMMU cannot isolate from each other, so that VFIO assigns them
 * together. It is VFIO's older interface, for kernels without IOMMUFD. {@link VfioDevice.open} opens groups itself.
 */
export class VfioGroup extends Closable {
  readonly kernel: Kernel;
  /** The group's number, as in /sys/kernel/iommu_groups. */
  readonly number: number;
  readonly #fd: FdHandle;
  readonly #devices = new Set<Child>();
  #container: Holder | undefined;
  /**
   * The object that closes this group. Can be an iommufd that the group was removed from while devices of the group are
   * still open.
   */
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

  static {
    shown(this, 'closed', 'fd', 'number');
  }

  private constructor(made: Key, kernel: Kernel, number: number, fd: FdHandle) {
    onlyInside(made, 'VfioGroup', 'use VfioGroup.open()');
    super(VfioGroup.#end);
    this.kernel = kernel;
    this.number = number;
    this.#fd = fd;
  }

  /**
   * Opens a group. A group can be open only once at a time, and only while none of its devices is bound through a
   * character device.
   *
   * @param target the group's number, a path ('/dev/vfio/12'), or the PCI address of a device in it
   * @throws KernelError ENOENT: VFIO has no device of this group. EBUSY: the group is open already, or one of its
   *   devices is bound to an iommufd. EACCES: this user may not open it. Error ERR_NO_SUCH_DEVICE,
   *   ERR_NOT_BOUND_TO_VFIO, ERR_WRONG_NODE.
   */
  static open(target: string | number, opts?: { kernel?: Kernel }): VfioGroup {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    const number = toNumber(target, kernel);
    const name = String(number);
    const node = { path: `/dev/vfio/${name}`, device: `IOMMU group ${name}`, numberFile: `class/vfio/${name}/dev` };
    return new VfioGroup(key, kernel, number, openNodeSync(kernel, node));
  }

  /** Returns the groups that objects of this thread have added to a container or iommufd. @internal */
  static inUse(holder: Holder): VfioGroup[] {
    return [...(this.#inUse.get(holder) ?? [])];
  }

  /** The file descriptor's number, for passing it on. This object owns it: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#fd;
  }

  /** The container or iommufd that this object has added the group to. */
  get container(): VfioContainer | Iommufd | undefined {
    return this.#container;
  }

  /** @internal */
  args(): { group: number } {
    return { group: this.number };
  }

  /** Returns whether the group can be used (VFIO_GROUP_GET_STATUS). */
  status(): GroupStatus {
    const flags = kernelCall(this.args(), () => native.groupStatus(this.handle));
    return { viable: (flags & statusFlags.viable) !== 0, containerSet: (flags & statusFlags.containerSet) !== 0 };
  }

  /**
   * Adds the group to a container or an iommufd (VFIO_GROUP_SET_CONTAINER). The group is closed before the container or
   * iommufd. In an iommufd, DMA of the group's devices uses the IOAS that IOMMU_VFIO_IOAS returns. The kernel allocates
   * one if there is none.
   *
   * @throws KernelError EINVAL: the group is in a container already, or its usable IOVAs do not contain the container's
   *   mappings. EPERM: the group is not viable, or interrupts are not isolated. EBUSY: the container has invalid
   *   addresses. Error ERR_OTHER_KERNEL.
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

  /** Synchronous version of {@link setContainer}. */
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

  /** Called when the kernel has removed the group from its container or iommufd. */
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
   * Removes the group from its container (VFIO_GROUP_UNSET_CONTAINER). With the last group, the container loses its
   * IOMMU and all mappings.
   *
   * @throws KernelError EBUSY: a device of the group is open. EINVAL: the group is in no container.
   */
  async unsetContainer(): Promise<void> {
    const group = this.handle;
    await this.calls.add(kernelCallAsync(this.args(), () => native.groupUnsetContainer(group, true)));
    this.#left();
  }

  /** Synchronous version of {@link unsetContainer}. */
  unsetContainerSync(): void {
    const group = this.handle;
    kernelCall(this.args(), () => native.groupUnsetContainer(group, false));
    this.#left();
  }

  /** Opens a device's file. `name`: the device's address and options. @internal */
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

  /** Synchronous version of {@link deviceFd}. @internal */
  deviceFdSync(name: string): FdHandle {
    return kernelCall({ ...this.args(), name }, () => native.groupDeviceFd(this.handle, name, false), {
      kernel: this.kernel,
    });
  }

  /** Registers a device that was opened through this group. It is closed before the group. @internal */
  adopt(device: Child): void {
    this.#devices.add(device);
  }

  /** @internal */
  forget(device: Child): void {
    this.#devices.delete(device);
  }

  /**
   * Closes the devices that were opened through the group, and the group, which leaves its container. If closing one of
   * them fails, the rest is closed anyway, and the first error is thrown at the end.
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on another thread, for `await using`: the kernel resets the devices and unpins memory. Waits for running
   * calls. From the start, every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}
