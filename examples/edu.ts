// A driver for the DMA engine of QEMU's edu device: an example of a device driver that uses this library.
import { setTimeout as sleep } from 'node:timers/promises';
import type { MappedRegion, VfioDevice } from 'vfio-dmabuf';

const registers = { source: 0x80, destination: 0x88, count: 0x90, command: 0x98 } as const;
const run = 1;
const toMemory = 2;
const bufferAddress = 0x40000n;
const atOnce = 2048; // QEMU's device cannot fill its buffer up to the last byte
const patience = 5000; // milliseconds; a transfer of QEMU's device takes 100

/** A DMA engine that copies bytes between IOVAs and its internal buffer of 4096 bytes. */
export class Edu {
  readonly #registers: MappedRegion;

  constructor(device: VfioDevice) {
    device.command.busMaster = true;
    this.#registers = device.region(0).map();
  }

  /** Copies `length` bytes from `iova` into the buffer. */
  async load(iova: bigint, length: number): Promise<void> {
    await this.#transfer(iova, bufferAddress, length, run);
  }

  /** Copies `length` bytes from the buffer to `iova`. */
  async store(iova: bigint, length: number): Promise<void> {
    await this.#transfer(bufferAddress, iova, length, run | toMemory);
  }

  /** Copies `length` bytes from `source` to `destination` through the buffer. */
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
