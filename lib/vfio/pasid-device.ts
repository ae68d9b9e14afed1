// The address spaces of a VFIO device's DMA that carries a PASID (process address space id).
import type { Around } from '../errors/around';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { Hwpt } from '../iommufd/hwpt';
import { Ioas, type Attached } from '../iommufd/ioas';
import { native, type HwptHandle, type IoasHandle } from '../addon/native';
import { instance, integer } from '../errors/validate';
import { BoundDevice } from './bound-device';

/** PASIDs have 20 bits; 0 stands for DMA without one, which attach() is for. */
const lastPasid = 0xf_ffff;

/** What a page table knows of one PASID of a device: how to make it leave. */
interface PasidAttachment extends Attached {
  device: PasidDevice;
  pasid: number;
  table: Ioas | Hwpt;
}

const hasPasid = (attached: Attached): attached is PasidAttachment => 'pasid' in attached;

/** How the DMA of a VFIO device is given address spaces of its own by PASID. */
export abstract class PasidDevice extends BoundDevice {
  readonly #pasids = new Map<number, PasidAttachment>();

  /**
   * Attaches the DMA that carries `pasid`, 1 to 0xfffff, to an address space of its own (VFIO_DEVICE_ATTACH_IOMMUFD_PT with
   * a PASID). If it was attached elsewhere, it moves, and so do the same PASIDs of the others of its IOMMU group. The kernel
   * does not ask whether the device has PASIDs.
   *
   * @throws Error ERR_OTHER_IOMMUFD: a page table of another iommufd. KernelError EINVAL: not bound; or the page table, or what
   *   the device itself is attached to, was not made for PASIDs, as the ones that the kernel makes for an IOAS are not.
   *   EOPNOTSUPP: the driver has no PASIDs.
   */
  async attachPasid(table: Ioas | Hwpt, pasid: number): Promise<void> {
    const [device, args, number] = [this.handle, this.args(), integer(pasid, 'pasid', 1, lastPasid)];
    const [handle, around] = [this.#handleOf(table), this.around()];
    const call = async () => {
      await kernelCallAsync(
        { ...args, table: table.id, pasid },
        () => native.vfioAttachPasid(device, handle, number, true),
        around,
      );
      this.#attached(number, table);
    };
    await this.track(table.calls.add(call()));
    if (this.closed || table.closed) throw closedError(table.closed ? 'page table' : 'VFIO device');
  }

  /** {@link attachPasid}, waiting. */
  attachPasidSync(table: Ioas | Hwpt, pasid: number): void {
    const [device, args, number] = [this.handle, this.args(), integer(pasid, 'pasid', 1, lastPasid)];
    const [handle, around] = [this.#handleOf(table), this.around()];
    kernelCall(
      { ...args, table: table.id, pasid },
      () => native.vfioAttachPasid(device, handle, number, false),
      around,
    );
    this.#attached(number, table);
  }

  /**
   * Detaches the DMA that carries `pasid` (VFIO_DEVICE_DETACH_IOMMUFD_PT with a PASID): it is blocked from now on. No error
   * if it is not attached.
   */
  async detachPasid(pasid: number): Promise<void> {
    const [device, args, number] = [this.handle, this.args(), integer(pasid, 'pasid', 1, lastPasid)];
    const call = async () => {
      await kernelCallAsync({ ...args, pasid }, () => native.vfioDetachPasid(device, number, true));
      this.#attached(number, undefined);
    };
    await this.track(call());
  }

  /** {@link detachPasid}, waiting. */
  detachPasidSync(pasid: number): void {
    const [device, args, number] = [this.handle, this.args(), integer(pasid, 'pasid', 1, lastPasid)];
    kernelCall({ ...args, pasid }, () => {
      native.vfioDetachPasid(device, number, false);
    });
    this.#attached(number, undefined);
  }

  /** @internal */
  override around(): Around {
    return { ...super.around(), pasids: this.#pasids.size };
  }

  #handleOf(table: Ioas | Hwpt): IoasHandle | HwptHandle {
    const { handle, iommufd } = table instanceof Hwpt ? table : instance(table, 'table', Ioas);
    const mine = this.iommufd;
    if (mine && mine !== iommufd && !mine.duplicated && !iommufd.duplicated) {
      throw codedError(
        'ERR_OTHER_IOMMUFD',
        'the page table belongs to another iommufd than the one the device is bound to',
      );
    }
    return handle;
  }

  #attached(pasid: number, table: Ioas | Hwpt | undefined): void {
    const old = this.#pasids.get(pasid)?.table;
    this.#stand(pasid, table);
    if (!old || !table || old === table) return;
    for (const other of [...old.attached].filter(hasPasid)) {
      if (other.pasid === pasid && this.sharesGroup(other.device)) other.device.#stand(pasid, table);
    }
  }

  #stand(pasid: number, table: Ioas | Hwpt | undefined): void {
    const old = this.#pasids.get(pasid);
    old?.table.attached.delete(old);
    this.#pasids.delete(pasid);
    if (!table || this.released) return;
    const attachment: PasidAttachment = {
      ...{ device: this, pasid, table },
      leave: () => {
        kernelCall(this.args(), () => {
          native.vfioDetachPasid(this.lastHandle, pasid, false);
        });
        this.#attached(pasid, undefined);
      },
      leaveLater: async () => {
        await kernelCallAsync(this.args(), () => native.vfioDetachPasid(this.lastHandle, pasid, true));
        this.#attached(pasid, undefined);
      },
    };
    this.#pasids.set(pasid, attachment);
    table.attached.add(attachment);
  }

  /** With the device's fd the kernel detaches all of them. @internal */
  protected override gone(): void {
    for (const [, attachment] of this.#pasids) attachment.table.attached.delete(attachment);
    this.#pasids.clear();
    super.gone();
  }
}
