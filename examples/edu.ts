// A driver for the DMA engine of QEMU's edu device: what a device driver looks like on this library.
import { setTimeout as sleep } from 'node:timers/promises';
import type { MappedRegion, VfioDevice } from 'vfio-dmabuf';

const registers = { source: 0x80, destination: 0x88, count: 0x90, command: 0x98 } as const;
const run = 1;
const toMemory = 2;
const bufferAddress = 0x40000n;
const atOnce = 2048; // QEMU's device does not fill its buffer to the last byte
const patience = 5000; // ms; QEMU's device takes 100

/** A DMA engine that moves bytes between IOVAs and a buffer of its own of 4096 bytes. */
export class Edu {
  readonly #registers: MappedRegion;

  constructor(device: VfioDevice) {
    device.command.busMaster = true;
    this.#registers = device.region(0).map();
  }

  /** From `iova` into the buffer. */
  async load(iova: bigint, length: number): Promise<void> {
    await this.#transfer(iova, bufferAddress, length, run);
  }

  /** From the buffer to `iova`. */
  async store(iova: bigint, length: number): Promise<void> {
    await this.#transfer(bufferAddress, iova, length, run | toMemory);
  }

  /** Through the buffer, from `source` to `destination`. */
  async copy(source: bigint, destination: bigint, length: number): Promise<void> {
    for (let done = 0; done < length; done += atOnce) {
      const part = Math.min(atOnce, length - done);
      await this.load(source + BigInt(done), part);
      await this.store(destination + BigInt(done), part);
    }
  }

  async #transfer(source: bigint, destination: bigint, length: number, command: number): Promise<void> {
    this.#registers.write64(registers.source, source);
    this.#registers.write64(registers.destination, destination);
    this.#registers.write64(registers.count, length);
    this.#registers.write32(registers.command, command);
    const deadline = Date.now() + patience;
    while ((this.#registers.read32(registers.command) & run) !== 0) {
      if (Date.now() > deadline) throw new Error('the DMA engine did not finish');
      await sleep(2);
    }
  }
}
