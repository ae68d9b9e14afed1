// Binds a VFIO device to an iommufd, and attaches its DMA, with and without PASIDs, to IOASes and page tables.
import { join } from 'node:path';
import { native, type FdHandle, type HwptHandle, type IoasHandle, type VfioHandle } from '../addon/native';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { instance, options } from '../errors/validate';
import type { Attached } from '../iommufd/bound';
import { Hwpt } from '../iommufd/hwpt';
import { Ioas } from '../iommufd/ioas';
import { Iommufd } from '../iommufd/iommufd';
import { linked } from '../kernel/look';
import type { Child } from '../lifetime/lifetime';
import type { DeviceFile } from './device-file';
import { toVfToken } from './vf-token';

/** How a device is bound to an iommufd. */
export interface BindOptions {
  /**
   * The VF token, a UUID (SR-IOV). It is required for a virtual function whose physical function is bound to VFIO, and
   * must equal the token of the physical function. It is also required for a physical function while virtual functions
   * are in use. If none is in use, this token becomes the physical function's token.
   */
  vfToken?: string;
}

type Table = Ioas | Hwpt;

/**
 * The attachment of a device, or of one of its PASIDs, to a page table. The page table uses it to detach the device.
 */
interface Attachment extends Attached {
  readonly owner: Attachments;
  /** Undefined: DMA without a PASID. */
  readonly pasid: number | undefined;
  readonly table: Table;
}

const isDevices = (attached: Attached): attached is Attachment => Object.hasOwn(attached, 'owner');

/** @internal */
export class Attachments {
  readonly #device: Child;
  readonly #file: DeviceFile;
  readonly #byPasid = new Map<number | undefined, Attachment>();
  #iommufd: Iommufd | undefined;
  #id: number | undefined;

  /** @param device the object that the iommufd closes */
  constructor(device: Child, file: DeviceFile) {
    this.#device = device;
    this.#file = file;
  }

  get iommufd(): Iommufd | undefined {
    if (this.#iommufd) return this.#iommufd;
    const holder = this.#file.use?.group.container;
    return holder instanceof Iommufd ? holder : undefined;
  }

  get id(): number | undefined {
    return this.#id;
  }

  /** The IOAS or page table for DMA without a PASID. */
  get table(): Table | undefined {
    return this.#byPasid.get(undefined)?.table;
  }

  async bind(iommufd: Iommufd, opts: BindOptions | undefined): Promise<void> {
    const { args, call } = this.#toBind(iommufd, opts);
    const around = this.#file.around();
    this.#bound(iommufd, await this.#file.track(kernelCallAsync(args, () => native.vfioBind(...call, true), around)));
  }

  bindSync(iommufd: Iommufd, opts: BindOptions | undefined): void {
    const { args, call } = this.#toBind(iommufd, opts);
    this.#bound(
      iommufd,
      kernelCall(args, () => native.vfioBind(...call, false), this.#file.around()),
    );
  }

  #toBind(iommufd: Iommufd, opts: BindOptions | undefined) {
    const { handle } = this.#file;
    const parent: FdHandle = instance(iommufd, 'iommufd', Iommufd).handle;
    const { vfToken } = options(opts, ['vfToken']);
    const token = vfToken === undefined ? undefined : toVfToken(vfToken, 'vfToken');
    return { args: { ...this.#file.args(), vfToken: token && 'given' }, call: [handle, parent, token] as const };
  }

  #bound(iommufd: Iommufd, id: number): void {
    if (this.#file.closed || iommufd.closed) {
      this.#device.close();
      throw closedError(iommufd.closed ? 'iommufd' : 'VFIO device');
    }
    this.#iommufd = iommufd;
    this.#id = id;
    iommufd.adopt(this.#device);
  }

  async attach(table: Table, pasid?: number): Promise<void> {
    const { args, around, call } = this.#toAttach(table, pasid);
    const attach = async () => {
      await kernelCallAsync(args, () => attachLater(...call), around);
      this.#attached(pasid, table);
    };
    // Closing the device or the table waits for this call and then detaches.
    await this.#file.track(table.calls.add(attach()));
    if (this.#file.closed || table.closed) throw closedError(table.closed ? nameOf(table) : 'VFIO device');
  }

  attachSync(table: Table, pasid?: number): void {
    const { args, around, call } = this.#toAttach(table, pasid);
    kernelCall(args, () => attachNow(...call), around);
    this.#attached(pasid, table);
  }

  #toAttach(table: Table, pasid: number | undefined) {
    const call = [this.#file.handle, this.#handleOf(table), pasid] as const;
    const [ioas, id] = table instanceof Hwpt ? [table.ioas, { hwpt: table.id }] : [table, { ioas: table.id }];
    return { args: { ...this.#file.args(), ...id, pasid }, around: { ...this.#file.around(), ioas }, call };
  }

  #handleOf(table: Table): IoasHandle | HwptHandle {
    const { handle } = table instanceof Hwpt ? table : instance(table, 'table', Ioas);
    // Object IDs are unique only within one iommufd.
    const [mine, its] = [this.iommufd, table.iommufd];
    if (mine && mine !== its && !mine.duplicated && !its.duplicated) {
      throw codedError(
        'ERR_OTHER_IOMMUFD',
        `the ${nameOf(table)} belongs to another iommufd than the one the device is bound to`,
      );
    }
    return handle;
  }

  #attached(pasid: number | undefined, table: Table | undefined): void {
    const old = this.#byPasid.get(pasid)?.table;
    this.#note(pasid, table);
    if (!old || !table || old === table) return;
    // The devices of an IOMMU group share one page table. The kernel also moved the other attached devices of the
    // group.
    for (const other of [...old.attached].filter(isDevices)) {
      if (other.pasid === pasid && this.#sharesGroup(other.owner)) other.owner.#note(pasid, table);
    }
  }

  /** Whether the devices belong to the same IOMMU group, according to sysfs. */
  #sharesGroup(other: Attachments): boolean {
    const group = iommuGroup(this.#file);
    return group !== undefined && iommuGroup(other.#file) === group;
  }

  #note(pasid: number | undefined, table: Table | undefined): void {
    const old = this.#byPasid.get(pasid);
    old?.table.attached.delete(old);
    this.#byPasid.delete(pasid);
    if (table && !this.#file.released) {
      const attachment = this.#toAttachment(pasid, table);
      this.#byPasid.set(pasid, attachment);
      table.attached.add(attachment);
    }
    this.#file.pasids = this.#byPasid.size - (this.table ? 1 : 0);
  }

  #toAttachment(pasid: number | undefined, table: Table): Attachment {
    let leaving: Promise<void> | undefined;
    const attachment: Attachment = {
      ...{ owner: this, pasid, table },
      leave: () => {
        if (this.#byPasid.get(pasid) === attachment) this.#detachSync(pasid);
      },
      leaveLater: () => {
        if (this.#byPasid.get(pasid) !== attachment) return Promise.resolve();
        leaving ??= this.#detach(pasid).finally(() => (leaving = undefined));
        return leaving;
      },
    };
    return attachment;
  }

  async detach(pasid?: number): Promise<void> {
    this.#file.check();
    await this.#file.track(this.#detach(pasid));
  }

  detachSync(pasid?: number): void {
    this.#file.check();
    this.#detachSync(pasid);
  }

  /** Detaches the device or one PASID. Works while the device is being closed. */
  async #detach(pasid: number | undefined): Promise<void> {
    const { lastHandle: device } = this.#file;
    await kernelCallAsync({ ...this.#file.args(), pasid }, () =>
      pasid === undefined ? native.vfioDetach(device, true) : native.vfioDetachPasid(device, pasid, true),
    );
    this.#attached(pasid, undefined);
  }

  #detachSync(pasid: number | undefined): void {
    const { lastHandle: device } = this.#file;
    kernelCall({ ...this.#file.args(), pasid }, () => {
      if (pasid === undefined) native.vfioDetach(device, false);
      else native.vfioDetachPasid(device, pasid, false);
    });
    this.#attached(pasid, undefined);
  }

  /** Detaches DMA without a PASID, if attached. The kernel detaches the PASIDs when the device's fd is closed. */
  leave(): void {
    this.#byPasid.get(undefined)?.leave();
  }

  async leaveLater(): Promise<void> {
    await this.#byPasid.get(undefined)?.leaveLater();
  }

  /** Called when the kernel has released the device. */
  gone(): void {
    for (const attachment of this.#byPasid.values()) attachment.table.attached.delete(attachment);
    this.#byPasid.clear();
    this.#iommufd?.forget(this.#device);
  }
}

function iommuGroup({ kernel, address }: DeviceFile): string | undefined {
  return address === undefined ? undefined : linked(join(kernel.sysfs, 'bus/pci/devices', address, 'iommu_group'));
}

type AttachCall = [device: VfioHandle, table: IoasHandle | HwptHandle, pasid: number | undefined];

const attachLater = (...[device, table, pasid]: AttachCall): Promise<number> =>
  pasid === undefined ? native.vfioAttach(device, table, true) : native.vfioAttachPasid(device, table, pasid, true);

const attachNow = (...[device, table, pasid]: AttachCall): number =>
  pasid === undefined ? native.vfioAttach(device, table, false) : native.vfioAttachPasid(device, table, pasid, false);

function nameOf(table: Table): string {
  return table instanceof Hwpt ? 'HWPT' : 'IOAS';
}
