// A VFIO device in an iommufd: bind, attach and detach, for its DMA without a PASID and for each PASID.
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

/** How to bind a device. */
export interface BindOptions {
  /**
   * A UUID, in SR-IOV: a virtual function whose physical one VFIO has wants the token that was set there, and so does the
   * physical function itself while virtual ones are in use; while none is, a token given here is set.
   */
  vfToken?: string;
}

type Table = Ioas | Hwpt;

/** What a page table knows of a device, or of one PASID of it: how to make it leave. */
interface Attachment extends Attached {
  readonly owner: Attachments;
  /** undefined: DMA that carries none. */
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

  /** @param device what an iommufd closes */
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

  /** What the DMA without a PASID goes through. */
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
    const { vfToken } = options(opts);
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
    // Both wait for it when they are closed, and detach.
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
    // Numbers are per iommufd: in another one, the same number is another object.
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
    // An IOMMU group has one page table: those of the group that are attached move with a device that does.
    for (const other of [...old.attached].filter(isDevices)) {
      if (other.pasid === pasid && this.#sharesGroup(other.owner)) other.owner.#note(pasid, table);
    }
  }

  /** Whether the devices are of one IOMMU group, as far as that can be seen. */
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

  /** Also while the device is being closed. */
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

  /** Detaches the DMA without a PASID, if it is attached: the rest the kernel detaches with the device's fd. */
  leave(): void {
    this.#byPasid.get(undefined)?.leave();
  }

  async leaveLater(): Promise<void> {
    await this.#byPasid.get(undefined)?.leaveLater();
  }

  /** The kernel has the device back. */
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
