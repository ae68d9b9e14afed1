// The PCI command register of a device.
import type { Region } from './region';

const offset = 0x04;
// PCI 3.0, 6.2.2
const bits = { ioSpace: 1 << 0, memory: 1 << 1, busMaster: 1 << 2, intxDisable: 1 << 10 } as const;

/**
 * The PCI command register (config space, 04h). Each property is read from the device and written to it at once, the
 * other bits kept.
 */
export class CommandRegister {
  readonly #config: () => Region;

  /** @internal */
  constructor(config: () => Region) {
    this.#config = config;
  }

  /** All 16 bits. */
  get value(): number {
    return this.#config().read16(offset);
  }

  set value(value: number) {
    this.#config().write16(offset, value);
  }

  #get(bit: number): boolean {
    return (this.value & bit) !== 0;
  }

  #set(bit: number, on: boolean): void {
    this.value = on ? this.value | bit : this.value & ~bit;
  }

  /** Whether the device answers I/O port accesses. */
  get ioSpace(): boolean {
    return this.#get(bits.ioSpace);
  }

  set ioSpace(on: boolean) {
    this.#set(bits.ioSpace, on);
  }

  /**
   * Whether the device answers memory accesses. Off revokes every dma-buf exported from it: all mappings of them are
   * 'revoked' and stay so until {@link IoasMapping.remap}.
   */
  get memory(): boolean {
    return this.#get(bits.memory);
  }

  set memory(on: boolean) {
    this.#set(bits.memory, on);
  }

  /** Whether the device may do DMA. Off after open. */
  get busMaster(): boolean {
    return this.#get(bits.busMaster);
  }

  set busMaster(on: boolean) {
    this.#set(bits.busMaster, on);
  }

  /** Whether INTx is kept off. */
  get intxDisable(): boolean {
    return this.#get(bits.intxDisable);
  }

  set intxDisable(on: boolean) {
    this.#set(bits.intxDisable, on);
  }
}
