// Opens the devices of the reference machine and binds them to one iommufd, for the cases of a describe block. Each
// case gets its own IOAS; what it leaves open is closed after it.
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
  /** Has SR-IOV, and `virtual0` and `virtual1`. */
  physical: addressOf(reference, 'physical'),
  virtual0: addressOf(reference, 'virtual0'),
  virtual1: addressOf(reference, 'virtual1'),
  /** Two functions of one device. `twin0` is a display; `twin1` has one BAR, smaller than a page. */
  twin0: addressOf(reference, 'twin0'),
  twin1: addressOf(reference, 'twin1'),
  /** Its CMB has to be enabled. */
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
/** Of the ssd: BAR 2 is all Controller Memory Buffer. */
export const cmb = { region: 2, size: 16n * MiB };
/** Of the display: BAR 0 is video memory. */
export const vram = { region: 0, size: 16n * MiB };

export class Rig {
  iommufd!: Iommufd;
  /** The case's own, with nothing attached to it. */
  ioas!: Ioas;
  readonly #roles: readonly Role[];
  readonly #devices = new Map<Role, VfioDevice>();
  readonly #open: { close(): void }[] = [];

  constructor(roles: readonly Role[]) {
    this.#roles = roles;
  }

  async start(): Promise<void> {
    this.#devices.clear();
    this.#open.length = 0; // what did not close is gone with the iommufd
    this.iommufd = Iommufd.open();
    for (const role of this.#roles) {
      this.#devices.set(role, await VfioDevice.open(addresses[role], { iommufd: this.iommufd }));
    }
  }

  startCase(): void {
    this.ioas = this.iommufd.allocIoas();
    this.ioas.on('restoreFailed', (_, error) => {
      report(error);
    });
  }

  /** Everything that a case may have changed is as it was. */
  endCase(): void {
    // What fails to close is still there for the next try.
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

  /** After a failed case, whose traces are not known: all is closed, in whatever state it is, and opened anew. */
  async restart(): Promise<void> {
    for (const object of [...this.#open.reverse(), this.ioas, ...this.devices, this.iommufd]) {
      try {
        object.close();
      } catch {
        // The case has failed already.
      }
    }
    await collectGarbage(); // what only the case knew may hold a device open
    await this.start();
  }

  /** All that are open. */
  get devices(): VfioDevice[] {
    return [...this.#devices.values()].filter(({ closed }) => !closed);
  }

  device(role: Role): VfioDevice {
    const device = this.#devices.get(role);
    if (!device) throw new Error(`the rig has no ${role}`);
    return device;
  }

  /** Another object for the device of this role, from now on. */
  replace(role: Role, device: VfioDevice): void {
    this.#devices.set(role, device);
  }

  /** Closed when the case ends, last first. */
  keep<T extends { close(): void }>(object: T): T {
    this.#open.push(object);
    return object;
  }

  /** The DMA engine, attached to the case's IOAS. */
  async engine(): Promise<Edu> {
    const device = this.device('engine');
    await device.attach(this.ioas);
    return new Edu(device);
  }

  /** Host memory with random bytes, and its mapping. */
  async memory(size = 8192): Promise<{ bytes: Buffer; iova: bigint }> {
    const memory = this.keep(DmaMemory.alloc(size));
    const bytes = Buffer.from(memory.buffer);
    randomFillSync(bytes);
    const { iova } = await this.ioas.mapMemory(memory);
    return { bytes, iova };
  }

  /** A dma-buf of a device's BAR. */
  exported(role: Role, region: number, length: bigint, offset = 0n) {
    return this.keep(this.device(role).exportDmaBuf({ region, offset, length }));
  }
}

/** A rig for the cases of this describe block. */
export function useRig(...roles: Role[]): Rig {
  const rig = new Rig(roles);
  before(() => rig.start());
  beforeEach(() => {
    rig.startCase();
  });
  afterEach(async function () {
    if (this.currentTest?.state === 'failed') await rig.restart();
    else rig.endCase();
  });
  after(() => {
    rig.stop();
  });
  return rig;
}

/** All that can be garbage goes, and what waits for that is done. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 5; i += 1) {
    collect();
    await turn();
  }
}

/** Bytes of a device's BAR, read through the kernel. */
export function barBytes(device: VfioDevice, region: number, offset: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  device.region(region).read(offset, bytes);
  return bytes;
}
