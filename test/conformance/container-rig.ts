// Opens devices of the reference machine through their IOMMU groups, in one container, for the cases of a describe
// block. No case may bind these devices through a character device at the same time.
import { randomFillSync } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { defaultKernel, DmaMemory, VfioContainer, VfioDevice, VfioGroup } from '../../lib';
import { addressOf, reference } from '../../lib/fake';
import { Edu } from '../../examples/edu';

/** The number of the IOMMU group of the device with this role. */
export function groupOf(role: string): number {
  const link = join(defaultKernel().sysfs, 'bus/pci/devices', addressOf(reference, role), 'iommu_group');
  return Number(basename(readlinkSync(link)));
}

export class ContainerRig {
  container!: VfioContainer;
  readonly #roles: readonly string[];
  readonly #devices = new Map<string, VfioDevice>();
  readonly #open: { close(): void }[] = [];

  constructor(roles: readonly string[]) {
    this.#roles = roles;
  }

  async start(): Promise<void> {
    this.container = VfioContainer.open();
    for (const role of this.#roles) await this.add(role);
  }

  async add(role: string): Promise<VfioDevice> {
    const device = await VfioDevice.open(addressOf(reference, role), { container: this.container });
    this.#devices.set(role, device);
    return device;
  }

  /** Closes all objects that a case left open, in reverse order. */
  stop(): void {
    for (let last = this.#open.at(-1); last; last = this.#open.at(-1)) {
      last.close();
      this.#open.pop();
    }
    this.container.close();
    this.#devices.clear();
  }

  device(role: string): VfioDevice {
    const device = this.#devices.get(role);
    if (!device) throw new Error(`the rig has no ${role}`);
    return device;
  }

  /** Registers an object to close when the case ends. Objects are closed in reverse order. */
  keep<T extends { close(): void }>(object: T): T {
    this.#open.push(object);
    return object;
  }

  /** Opens a group that is in no container. */
  group(role: string): VfioGroup {
    return this.keep(VfioGroup.open(groupOf(role)));
  }

  engine(): Edu {
    return new Edu(this.device('engine'));
  }

  /** Allocates host memory with random bytes, and maps it. */
  async memory(size = 8192, iova?: bigint): Promise<{ bytes: Buffer; memory: DmaMemory; iova: bigint }> {
    const memory = this.keep(DmaMemory.alloc(size));
    const bytes = Buffer.from(memory.buffer);
    randomFillSync(bytes);
    const mapping = await this.container.mapMemory(memory, iova === undefined ? {} : { iova });
    return { bytes, memory, iova: mapping.iova };
  }
}

/** Opens a container with the groups of these devices, for each case of this describe block. */
export function useContainer(...roles: string[]): ContainerRig {
  const rig = new ContainerRig(roles);
  beforeEach(() => rig.start());
  afterEach(function () {
    try {
      rig.stop();
    } catch (error) {
      if (this.currentTest?.state !== 'failed') throw error;
    }
  });
  return rig;
}
