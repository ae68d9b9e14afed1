// The PCI command register of a device.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import type { Region } from './region';

const offset = 0x04;
// PCI 3.0, section 6.2.2
const bits = { ioSpace: 1 << 0, memory: 1 << 1, busMaster: 1 << 2, intxDisable: 1 << 10 } as const;

/**
 * The PCI command register (config space, 04h). Each access to a property reads or writes the device's register.
 * Setting a property keeps the other bits.
 */
export class CommandRegister {
  readonly #config: () => Region;

  static {
    shown(this, 'ioSpace', 'memory', 'busMaster', 'intxDisable');
  }

  /** @internal */
  constructor(made: Key, config: () => Region) {
    onlyInside(made, 'CommandRegister', 'use VfioDevice#command');
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
   * Whether the device responds to memory accesses. Setting it to false revokes all dma-bufs that were exported from
   * the device. Their mappings stay 'revoked' until {@link IoasMapping.remap}.
   */
  get memory(): boolean {
    return this.#get(bits.memory);
  }

  set memory(on: boolean) {
    this.#set(bits.memory, on);
  }

  /** Whether the device may do DMA. False after the device is opened. */
  get busMaster(): boolean {
    return this.#get(bits.busMaster);
  }

  set busMaster(on: boolean) {
    this.#set(bits.busMaster, on);
  }

  /** Whether INTx is disabled. */
  get intxDisable(): boolean {
    return this.#get(bits.intxDisable);
  }

  set intxDisable(on: boolean) {
    this.#set(bits.intxDisable, on);
  }
}
