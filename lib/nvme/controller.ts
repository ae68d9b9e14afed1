// NvmeController finds the parts of an NVMe controller that can be shared: its Controller Memory Buffer (CMB) and its
// doorbells (NVM Express Base Specification 1.4 and 2.0; section numbers are those of 2.0).
import { data, shown } from '../addon/shown';
import { native } from '../addon/native';
import { codedError } from '../errors/errors';
import { instance, integer, oneOf, options, outOfRange, u64 } from '../errors/validate';
import { VfioDevice } from '../vfio/device';
import type { MappedRegion } from '../vfio/mapped-region';

/** Register offsets in BAR 0, in bytes (section 3.1.3). */
const offsets = {
  cap: 0x00,
  vs: 0x08,
  cmbloc: 0x38,
  cmbsz: 0x3c,
  cmbmsc: 0x50,
  cmbsts: 0x58,
  doorbells: 0x1000,
} as const;
const classOfNvme = 0x0108;
const lastQueue = 0xffff;
/** The unit of the specification, whatever the kernel's page size is. */
const unitOfNvme = 0x1000n;

/** Bits of CMBMSC and CMBSTS. */
const registersEnable = 1;
const memorySpaceEnable = 2;
const addressInvalid = 1;

/** A part of a BAR, in bytes. If it is page-aligned, {@link VfioDevice.exportDmaBuf} accepts it. */
export interface BarRange {
  region: number;
  offset: bigint;
  length: bigint;
}

/** The controller's capabilities (CAP). */
export interface NvmeCapabilities {
  /** The maximum number of entries of a queue. */
  maximumQueueEntries: number;
  /** Whether queues must be physically contiguous. */
  contiguousQueues: boolean;
  /** The maximum time for enabling and disabling the controller, in milliseconds. */
  timeout: number;
  /** The distance between doorbells, in bytes. */
  doorbellStride: number;
  /** The minimum page size, in bytes. */
  minimumPageSize: number;
  maximumPageSize: number;
  /** Whether the CMB must be enabled ({@link NvmeController.enableCmb}). */
  cmbHasControl: boolean;
}

/** A Controller Memory Buffer: its place in the BAR, and what the controller supports in it. */
export interface NvmeCmb extends BarRange {
  submissionQueues: boolean;
  completionQueues: boolean;
  /** PRP and SGL lists. */
  lists: boolean;
  /** Data of commands that read from the drive. */
  readData: boolean;
  /** Data of commands that write to the drive. */
  writeData: boolean;
}

/** Options of {@link NvmeController.enableCmb}. */
export interface EnableCmbOptions {
  /**
   * The address at which the controller's own commands access the CMB: a multiple of 4096 that does not overlap the
   * IOVAs of data. Default: unchanged; initially the controller's commands cannot access the CMB, but peers and the CPU
   * can.
   */
  controllerAddress?: number | bigint;
}

const bit = (value: number, at: number) => ((value >>> at) & 1) === 1;
const bits = (value: number, high: number, low: number) => (value >>> low) & (2 ** (high - low + 1) - 1);

/**
 * Accesses the registers of an NVMe controller that is open in VFIO, to find what can be shared. It does not send
 * commands; a driver does that (examples/nvme-drive.ts is a small one, SPDK a large one).
 */
export class NvmeController {
  readonly device: VfioDevice;
  /** The registers without the doorbells: the first 4096 bytes of BAR 0. */
  readonly registers: MappedRegion;

  static {
    shown(this, ['device', ({ device }) => device.address], ['closed', ({ registers }) => registers.closed]);
  }

  /**
   * Maps the controller's registers.
   *
   * @param device Its memory decoding must be enabled (`device.command.memory`).
   * @throws Error ERR_NOT_NVME: it has another class code.
   */
  constructor(device: VfioDevice) {
    this.device = instance(device, 'device', VfioDevice);
    const code = device.config.read16(0x0a);
    if (code !== classOfNvme) {
      throw codedError(
        'ERR_NOT_NVME',
        `${device.address ?? 'the device'} is no NVMe controller: its class is ${hex(code)}`,
      );
    }
    this.registers = device.region(0).map({ offset: 0n, length: unitOfNvme });
  }

  /** The version of the specification that the controller implements, for example '1.4.0'. */
  get version(): string {
    const value = this.registers.read32(offsets.vs);
    return [bits(value, 31, 16), bits(value, 15, 8), bits(value, 7, 0)].join('.');
  }

  get capabilities(): NvmeCapabilities {
    const [low, high] = [this.registers.read32(offsets.cap), this.registers.read32(offsets.cap + 4)];
    return {
      maximumQueueEntries: bits(low, 15, 0) + 1,
      contiguousQueues: bit(low, 16),
      timeout: bits(low, 31, 24) * 500,
      doorbellStride: 4 << bits(high, 3, 0),
      minimumPageSize: 4096 * 2 ** bits(high, 19, 16),
      maximumPageSize: 4096 * 2 ** bits(high, 23, 20),
      cmbHasControl: bit(high, 25),
    };
  }

  /**
   * The Controller Memory Buffer (CMBLOC and CMBSZ; sections 3.1.3.12 and 3.1.3.13), clipped to its BAR; undefined if
   * there is none or it must be enabled first.
   */
  get cmb(): NvmeCmb | undefined {
    const [location, size] = [this.registers.read32(offsets.cmbloc), this.registers.read32(offsets.cmbsz)];
    const unit = unitOfNvme << BigInt(4 * bits(size, 11, 8));
    const offset = unit * BigInt(bits(location, 31, 12));
    const region = bits(location, 2, 0);
    const wanted = unit * BigInt(bits(size, 31, 12));
    if (wanted === 0n) return undefined;
    const room = this.device.region(region).size - offset;
    if (room <= 0n) return undefined;
    return data({
      ...{ region, offset, length: wanted < room ? wanted : room },
      submissionQueues: bit(size, 0),
      completionQueues: bit(size, 1),
      lists: bit(size, 2),
      readData: bit(size, 3),
      writeData: bit(size, 4),
    });
  }

  /**
   * Enables the CMB on controllers that require this (CMBMSC, section 3.1.3.20). On other controllers it has no effect.
   * A reset of the controller or of the device may disable the CMB.
   *
   * @throws Error ERR_NO_CMB: the controller has none. ERR_CMB_ADDRESS: the controller rejects `controllerAddress`.
   *   RangeError ERR_OUT_OF_RANGE.
   */
  enableCmb(opts?: EnableCmbOptions): NvmeCmb {
    const { controllerAddress } = options(opts, ['controllerAddress']);
    const address = controllerAddress === undefined ? undefined : u64(controllerAddress, 'controllerAddress');
    if (address !== undefined && address % unitOfNvme !== 0n) {
      throw outOfRange('controllerAddress', 'a multiple of 4096', address);
    }
    if (this.capabilities.cmbHasControl) this.#control(address);
    const found = this.cmb;
    if (!found)
      throw codedError('ERR_NO_CMB', `${this.device.address ?? 'the controller'} has no Controller Memory Buffer`);
    if (address !== undefined && bit(this.registers.read32(offsets.cmbsts), addressInvalid - 1)) {
      throw codedError('ERR_CMB_ADDRESS', `the controller does not take ${hex(address)} as its CMB's address`);
    }
    return found;
  }

  /**
   * Enables the registers first, because they contain the limits of the memory space. Keeps what is already enabled.
   */
  #control(address: bigint | undefined): void {
    const isOn = (this.registers.read32(offsets.cmbmsc) & registersEnable) !== 0;
    if (address !== undefined || !isOn) this.#writeControl(BigInt(registersEnable));
    if (address !== undefined && this.cmb) this.#writeControl(address | BigInt(registersEnable | memorySpaceEnable));
  }

  /** Writes the upper half first, because bits in the lower half activate the value. */
  #writeControl(value: bigint): void {
    this.registers.write32(offsets.cmbmsc + 4, Number(value >> 32n));
    this.registers.write32(offsets.cmbmsc, Number(value & 0xffff_ffffn));
  }

  /**
   * Returns the location of a queue's doorbell: 4 bytes in BAR 0 (section 3.1.3.21 and following). Queue 0 is the admin
   * queue.
   *
   * @throws RangeError ERR_OUT_OF_RANGE: it is outside the BAR.
   */
  doorbell(queue: number, kind: 'submission' | 'completion'): BarRange {
    const number = integer(queue, 'queue', 0, lastQueue);
    const which = oneOf(kind, 'kind', ['submission', 'completion'] as const) === 'submission' ? 0 : 1;
    const offset = BigInt(offsets.doorbells + (2 * number + which) * this.capabilities.doorbellStride);
    const { size } = this.device.region(0);
    if (offset + 4n > size) throw outOfRange('queue', 'of a doorbell inside BAR 0', queue);
    return data({ region: 0, offset, length: 4n });
  }

  /**
   * Returns the pages with the doorbells of queues 0 to `lastQueue`, for a peer that writes to them. The peer can write
   * to every doorbell in these pages.
   *
   * @throws Error ERR_NOT_EXPORTABLE: one of these pages contains the MSI-X table or, with pages larger than 4 KiB, the
   *   controller's registers. RangeError ERR_OUT_OF_RANGE.
   */
  doorbells(lastQueue = 0): BarRange {
    const { offset: last, length } = this.doorbell(lastQueue, 'completion');
    const start = BigInt(offsets.doorbells);
    const page = native.pageSize;
    if (start % page !== 0n) {
      const why = `pages of this kernel have ${String(page)} bytes: the doorbells share one with the controller's registers`;
      throw codedError('ERR_NOT_EXPORTABLE', why);
    }
    const end = ((last + length + page - 1n) / page) * page;
    const inside = this.device
      .region(0)
      .exportableRanges()
      .some((range) => range.offset <= start && end <= range.offset + range.length);
    if (!inside) throw codedError('ERR_NOT_EXPORTABLE', 'the doorbells share a page with the MSI-X table');
    return data({ region: 0, offset: start, length: end - start });
  }

  /** Unmaps the registers. The CMB's state does not change. */
  close(): void {
    this.registers.close();
  }

  /** Calls close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

const hex = (value: number | bigint) => `0x${value.toString(16)}`;
