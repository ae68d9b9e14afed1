// Creates everything that a program can have open, step by step. Each step adds to those before it.
import { readFile } from 'node:fs/promises';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { DmaMemory, Iommufd, VfioDevice, type DmaBuf, type Ioas, type Kernel, type MappedRegion } from '../../lib';
import { addressOf, FenceTimeline, reference } from '../../lib/fake';

export const addresses = { engine: addressOf(reference, 'engine'), ssd: addressOf(reference, 'ssd') };

/** A step after which calls sleep in the kernel until a fence is signaled. */
export const withoutBound = 'resets wait for a fence';

const manyPages = 4 << 20; // bytes; pinning them takes some milliseconds
const calls = 8; // more than Node has pool threads: some are in the kernel, some wait

export interface Life {
  kernel: Kernel | undefined;
  iommufd?: Iommufd;
  engine?: VfioDevice;
  ssd?: VfioDevice;
  ioas?: Ioas;
  memory?: DmaMemory;
  buffer?: DmaBuf;
  registers?: MappedRegion;
  fences?: FenceTimeline;
}

type Full = Required<Life>;

/** Makes several calls at once without waiting for them. Their results are ignored. */
function underWay(call: () => Promise<unknown>): void {
  for (let i = 0; i < calls; i += 1) call().catch(() => undefined);
}

const kernelOf = ({ kernel }: Life) => (kernel ? { kernel } : {});

const setUp: Record<string, (life: Full) => unknown> = {
  'an iommufd is open': (life) => (life.iommufd = Iommufd.open(kernelOf(life))),
  'devices are bound': (life) => {
    const { iommufd } = life;
    life.engine = VfioDevice.openSync(addresses.engine, { iommufd });
    life.ssd = VfioDevice.openSync(addresses.ssd, { iommufd });
    life.engine.command.memory = life.ssd.command.memory = true;
  },
  'devices are attached': (life) => {
    life.ioas = life.iommufd.allocIoas();
    life.engine.attachSync(life.ioas);
    life.ssd.attachSync(life.ioas);
  },
  'memory is allocated': (life) => {
    life.memory = DmaMemory.alloc(manyPages, kernelOf(life));
    new Uint8Array(life.memory.buffer).fill(1, 0, 4096);
  },
  'memory is mapped': (life) => life.ioas.mapMemorySync(life.memory),
  'a dma-buf is exported': (life) => {
    life.buffer = life.ssd.exportDmaBuf({ region: 2, offset: 0n, length: 1n << 20n });
  },
  'registers are mapped': (life) => {
    life.registers = life.engine.region(0).map();
    life.registers.write32(4, life.registers.read32(0));
  },
  'the dma-buf is mapped': (life) => life.ioas.mapDmaBuf(life.buffer),
};

const leaves: Record<string, { after: string; step: (life: Full) => unknown }> = {
  'devices are being opened': {
    after: 'an iommufd is open',
    step: ({ iommufd }) => underWay(() => VfioDevice.open(addresses.engine, { iommufd })),
  },
  'a device is being attached': {
    after: 'devices are bound',
    step: ({ iommufd, engine }) => {
      const spaces = [iommufd.allocIoas(), iommufd.allocIoas()] as const;
      let n = 0;
      underWay(() => engine.attach(spaces[n++ % 2 ? 0 : 1]));
    },
  },
  'devices are being reset': {
    after: 'the dma-buf is mapped',
    step: ({ ssd, engine }) => {
      let n = 0;
      underWay(() => (n++ % 2 ? ssd : engine).reset());
    },
  },
  'memory is being mapped': {
    after: 'the dma-buf is mapped',
    step: ({ ioas, memory }) => underWay(() => ioas.mapMemory(memory)),
  },
  [withoutBound]: {
    after: 'the dma-buf is mapped',
    step: async (life) => {
      const { ssd, buffer } = life;
      life.fences = FenceTimeline.open(kernelOf(life));
      buffer.importSyncFile(life.fences.createFence(1), 'w');
      underWay(() => ssd.reset());
      await sleep(100);
      await readFile('/proc/self/comm'); // some of Node's pool threads are still free
    },
  },
  'all of it is garbage': {
    after: 'the dma-buf is mapped',
    step: async (life) => {
      for (const key of Object.keys(life)) if (key !== 'kernel') Reflect.deleteProperty(life, key);
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc') as () => void;
      for (let i = 0; i < 5; i += 1) {
        collect();
        await turn();
      }
    },
  },
};

export const steps: readonly string[] = [...Object.keys(setUp), ...Object.keys(leaves)].filter(
  (step) => step !== withoutBound,
);

/** Runs the steps up to `step`. The returned object keeps the memory that calls under way use. */
export async function live(step: string, kernel: Kernel | undefined): Promise<Life> {
  const life = { kernel } as Full;
  const leaf = leaves[step];
  const last = leaf?.after ?? step;
  for (const [name, run] of Object.entries(setUp)) {
    run(life);
    if (name === last) break;
  }
  await leaf?.step(life);
  return life;
}
