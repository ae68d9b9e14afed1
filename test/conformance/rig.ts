// Opens the devices of the reference machine and binds them to one iommufd, for the cases of a describe block. Each
// case gets its own IOAS. The objects that it leaves open are closed after it.
import { randomFillSync } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { DmaMemory, Iommufd, VfioDevice, type Ioas } from '../../lib';
import { addressOf, reference } from '../../lib/fake';
import { Edu } from '../../examples/edu';
import { report } from './record';

export const addresses = {
  ssd: addressOf(reference, 'ssd'),
  display: addressOf(reference, 'display'),
  engine: addressOf(reference, 'engine'),
  ports: addressOf(reference, 'ports'),
  /** Has SR-IOV, with the virtual functions `virtual0` and `virtual1`. */
  physical: addressOf(reference, 'physical'),
  virtual0: addressOf(reference, 'virtual0'),
  virtual1: addressOf(reference, 'virtual1'),
  /** Two functions of one device. `twin0` is a display; `twin1` has one BAR, smaller than a page. */
  twin0: addressOf(reference, 'twin0'),
  twin1: addressOf(reference, 'twin1'),
  /** Its CMB must be enabled first. */
  disk: addressOf(reference, 'disk'),
  serial: addressOf(reference, 'serial'),
  serialTwin: addressOf(reference, 'serialTwin'),
  serialSingle: addressOf(reference, 'serialSingle'),
  framebuffer: addressOf(reference, 'framebuffer'),
  panel: addressOf(reference, 'panel'),
};

type Role = keyof typeof addresses;

export const page = 4096n;
export const MiB = 1n << 20n;
/** The ssd's BAR 2 consists of the Controller Memory Buffer. */
export const cmb = { region: 2, size: 16n * MiB };
/** The display's BAR 0 is video memory. */
export const vram = { region: 0, size: 16n * MiB };

export class Rig {
  iommufd!: Iommufd;
  /** The IOAS of the case, initially without devices. */
  ioas!: Ioas;
  readonly #roles: readonly Role[];
  readonly #devices = new Map<Role, VfioDevice>();
  readonly #open: { close(): void }[] = [];

  constructor(roles: readonly Role[]) {
    this.#roles = roles;
  }

  async start(): Promise<void> {
    this.#devices.clear();
    this.#open.length = 0; // the close of the iommufd has closed the rest
    this.iommufd = Iommufd.open();
    for (const role of this.#roles) {
      const open = () => VfioDevice.open(addresses[role], { iommufd: this.iommufd });
      const device = await open().catch(async (error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
        // Unreachable objects of an earlier file of tests may have the device open.
        await collectGarbage();
        return open();
      });
      this.#devices.set(role, device);
    }
  }

  startCase(): void {
    this.ioas = this.iommufd.allocIoas();
    this.ioas.on('restoreFailed', (_, error) => report(error));
  }

  /** Restores the state before the case. */
  endCase(): void {
    // An object whose close fails stays in the list for the next attempt.
    for (let last = this.#open.at(-1); last; last = this.#open.at(-1)) {
      last.close();
      this.#open.pop();
    }
    this.ioas.close();
    for (const device of this.devices) {
      for (const index of device.interrupts) if (index.enabled) index.disable();
      device.command.memory = true;
      device.command.busMaster = false;
    }
  }

  stop(): void {
    this.iommufd.close();
  }

  /** Restores the state after a failed case, by closing and reopening everything. */
  async restart(): Promise<void> {
    for (const object of [...this.#open.reverse(), this.ioas, ...this.devices, this.iommufd]) {
      try {
        object.close();
      } catch {
        // The case has failed already.
      }
    }
    await collectGarbage(); // unreachable objects of the case may have a device open
    await this.start();
  }

  /** All open devices. */
  get devices(): VfioDevice[] {
    return [...this.#devices.values()].filter(({ closed }) => !closed);
  }

  device(role: Role): VfioDevice {
    const device = this.#devices.get(role);
    if (!device) throw new Error(`the rig has no ${role}`);
    return device;
  }

  /** Replaces the object of the device with this role. */
  replace(role: Role, device: VfioDevice): void {
    this.#devices.set(role, device);
  }

  /** Registers an object to close when the case ends. Objects are closed in reverse order. */
  keep<T extends { close(): void }>(object: T): T {
    this.#open.push(object);
    return object;
  }

  /** A driver for the DMA engine, which is attached to the case's IOAS. */
  async engine(): Promise<Edu> {
    const device = this.device('engine');
    await device.attach(this.ioas);
    return new Edu(device);
  }

  /** Allocates host memory with random bytes, and maps it. */
  async memory(size = 8192): Promise<{ bytes: Buffer; iova: bigint }> {
    const memory = this.keep(DmaMemory.alloc(size));
    const bytes = Buffer.from(memory.buffer);
    randomFillSync(bytes);
    const { iova } = await this.ioas.mapMemory(memory);
    return { bytes, iova };
  }

  /** Exports a dma-buf of a device's BAR. */
  exported(role: Role, region: number, length: bigint, offset = 0n) {
    return this.keep(this.device(role).exportDmaBuf({ region, offset, length }));
  }
}

/** Opens a rig for the cases of this describe block. */
export function useRig(...roles: Role[]): Rig {
  const rig = new Rig(roles);
  before(() => rig.start());
  beforeEach(() => rig.startCase());
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await rig.restart();
    else rig.endCase();
  });
  after(() => rig.stop());
  return rig;
}

/** Runs the garbage collector and waits for finalizers. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 5; i += 1) {
    collect();
    await turn();
  }
}

/** Reads bytes of a device's BAR by system calls. */
export function barBytes(device: VfioDevice, region: number, offset: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  device.region(region).read(offset, bytes);
  return bytes;
}
