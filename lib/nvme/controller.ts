// What can be shared of an NVMe controller: its Controller Memory Buffer and its doorbells (NVM Express Base Specification
// 1.4 and 2.0; section numbers are 2.0's).
import { codedError } from '../errors/errors';
import { instance, integer, oneOf, options, outOfRange, u64 } from '../errors/validate';
import { VfioDevice } from '../vfio/device';
import type { MappedRegion } from '../vfio/mapped-region';

/** Section 3.1.3; offsets in BAR 0, in bytes. */
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
const page = 0x1000n;

/** Bits of CMBMSC and CMBSTS. */
const registersEnable = 1;
const memorySpaceEnable = 2;
const addressInvalid = 1;

/** A part of a BAR, as {@link VfioDevice.exportDmaBuf} takes them where they are whole pages; in bytes. */
export interface BarRange {
  region: number;
  offset: bigint;
  length: bigint;
}

/** What a controller says that it can do (CAP). */
export interface NvmeCapabilities {
  /** The most entries of a queue. */
  maximumQueueEntries: number;
  /** Whether queues must lie in one piece. */
  contiguousQueues: boolean;
  /** The longest that enabling and disabling take, in milliseconds. */
  timeout: number;
  /** From one doorbell to the next, in bytes. */
  doorbellStride: number;
  /** In bytes. */
  minimumPageSize: number;
  maximumPageSize: number;
  /** Whether the CMB has to be enabled ({@link NvmeController.enableCmb}). */
  cmbHasControl: boolean;
}

/** A Controller Memory Buffer: where it lies, and what the controller takes from there. */
export interface NvmeCmb extends BarRange {
  submissionQueues: boolean;
  completionQueues: boolean;
  /** PRP and SGL lists. */
  lists: boolean;
  /** Data of commands that read from the drive. */
  readData: boolean;
  /** Data of commands that write to it. */
  writeData: boolean;
}

/** How to enable a CMB. */
export interface EnableCmbOptions {
  /**
   * Where the controller's own commands shall reach it, a multiple of 4096: an address that is no IOVA of its peers' data.
   * Left out: that stays as it is; at first its commands do not reach it, its peers and the CPU do.
   */
  controllerAddress?: number | bigint;
}

const bit = (value: number, at: number) => ((value >>> at) & 1) === 1;
const bits = (value: number, high: number, low: number) => (value >>> low) & (2 ** (high - low + 1) - 1);

/**
 * The registers of an NVMe controller that VFIO has, for sharing what it has to share. It sends no commands: that is a
 * driver's work (examples/nvme-drive.ts is a small one, SPDK a large one).
 */
export class NvmeController {
  readonly device: VfioDevice;
  /** Its registers, without the doorbells: the first 4096 bytes of BAR 0. */
  readonly registers: MappedRegion;

  /**
   * @param device Its memory space must be on (`device.command.memory`).
   * @throws Error ERR_NOT_NVME: its class code is another.
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
    this.registers = device.region(0).map({ offset: 0n, length: page });
  }

  /** '1.4.0' */
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
   * The Controller Memory Buffer (CMBLOC and CMBSZ; sections 3.1.3.12 and 3.1.3.13), as far as it lies in its BAR; undefined:
   * there is none, or it has to be enabled.
   */
  get cmb(): NvmeCmb | undefined {
    const [location, size] = [this.registers.read32(offsets.cmbloc), this.registers.read32(offsets.cmbsz)];
    const unit = page << BigInt(4 * bits(size, 11, 8));
    const offset = unit * BigInt(bits(location, 31, 12));
    const region = bits(location, 2, 0);
    const wanted = unit * BigInt(bits(size, 31, 12));
    if (wanted === 0n) return undefined;
    const room = this.device.region(region).size - offset;
    if (room <= 0n) return undefined;
    return {
      ...{ region, offset, length: wanted < room ? wanted : room },
      submissionQueues: bit(size, 0),
      completionQueues: bit(size, 1),
      lists: bit(size, 2),
      readData: bit(size, 3),
      writeData: bit(size, 4),
    };
  }

  /**
   * Makes the CMB appear where the controller wants to be asked for it (CMBMSC, section 3.1.3.20); where it is always there
   * this does no harm. A reset of the controller or the device may undo it.
   *
   * @throws Error ERR_NO_CMB: the controller has none; ERR_CMB_ADDRESS: it does not take `controllerAddress`. RangeError
   *   ERR_OUT_OF_RANGE.
   */
  enableCmb(opts?: EnableCmbOptions): NvmeCmb {
    const { controllerAddress } = options(opts);
    const address = controllerAddress === undefined ? undefined : u64(controllerAddress, 'controllerAddress');
    if (address !== undefined && address % page !== 0n) {
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

  /** Only the registers first: what the memory space may be is known from them. What is enabled already stays so. */
  #control(address: bigint | undefined): void {
    const isOn = (this.registers.read32(offsets.cmbmsc) & registersEnable) !== 0;
    if (address !== undefined || !isOn) this.#writeControl(BigInt(registersEnable));
    if (address !== undefined && this.cmb) this.#writeControl(address | BigInt(registersEnable | memorySpaceEnable));
  }

  /** The upper half first: the lower one's bits put it into force. */
  #writeControl(value: bigint): void {
    this.registers.write32(offsets.cmbmsc + 4, Number(value >> 32n));
    this.registers.write32(offsets.cmbmsc, Number(value & 0xffff_ffffn));
  }

  /**
   * Where a queue's doorbell is (section 3.1.3.21 and following): 4 bytes in BAR 0. Queue 0 is the admin queue.
   *
   * @throws RangeError ERR_OUT_OF_RANGE: it lies behind the BAR's end.
   */
  doorbell(queue: number, kind: 'submission' | 'completion'): BarRange {
    const number = integer(queue, 'queue', 0, lastQueue);
    const which = oneOf(kind, 'kind', ['submission', 'completion'] as const) === 'submission' ? 0 : 1;
    const offset = BigInt(offsets.doorbells + (2 * number + which) * this.capabilities.doorbellStride);
    const { size } = this.device.region(0);
    if (offset + 4n > size) throw outOfRange('queue', 'of a doorbell inside BAR 0', queue);
    return { region: 0, offset, length: 4n };
  }

  /**
   * The pages with the doorbells of queues 0 to `lastQueue`, for a peer that is to ring them. Whoever has them can ring each
   * of the queues.
   *
   * @throws Error ERR_NOT_EXPORTABLE: the MSI-X table lies in one of these pages. RangeError ERR_OUT_OF_RANGE.
   */
  doorbells(lastQueue = 0): BarRange {
    const { offset: last, length } = this.doorbell(lastQueue, 'completion');
    const start = BigInt(offsets.doorbells);
    const end = ((last + length + page - 1n) / page) * page;
    const inside = this.device
      .region(0)
      .exportableRanges()
      .some((range) => range.offset <= start && end <= range.offset + range.length);
    if (!inside) throw codedError('ERR_NOT_EXPORTABLE', 'the doorbells share a page with the MSI-X table');
    return { region: 0, offset: start, length: end - start };
  }

  /** Unmaps the registers. The CMB stays as it is. */
  close(): void {
    this.registers.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

const hex = (value: number | bigint) => `0x${value.toString(16)}`;
