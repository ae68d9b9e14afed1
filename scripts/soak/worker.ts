// One thread of the soak: repeatedly opens or duplicates a device, uses it and closes it. Some calls fail because of
// other threads that use the same device. Each operation lists the errors that it may fail with.
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { DmaMemory, Iommufd, VfioDevice, type DmaBuf, type Ioas, type IoasMapping, type MappedRegion } from '../../lib';
import { addressOf, FakeKernel, reference, type FakeKernelToken } from '../../lib/fake';
import { Offers } from './offers';

export interface Work {
  index: number;
  seed: number;
  seconds: number;
  token: FakeKernelToken | undefined;
  offers: SharedArrayBuffer;
  /** A lock on the DMA engine, then each worker's count of steps. */
  shared: SharedArrayBuffer;
}

/** How often each operation ran, and how often it failed with an allowed error. */
export type Tally = Record<string, number>;

const { index, seed, seconds, token, offers: offersMemory, shared } = workerData as Work;
const kernel = token && FakeKernel.attach(token);
const offers = new Offers(offersMemory);
const words = new Int32Array(shared);
const tally: Tally = {};

let state = (seed * 1000 + index + 1) >>> 0;
/** Xorshift: the same seed gives the same numbers. */
function random(below: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % below;
}
const pick = <T>(items: readonly T[]): T | undefined => items[random(items.length)];

const roles = ['engine', 'ssd', 'display'] as const;
type Role = (typeof roles)[number];
// The BARs that can be exported, and mapped as memory or registers.
const bars: Record<Role, { memory: number | undefined; registers: number | undefined }> = {
  engine: { memory: undefined, registers: 0 },
  ssd: { memory: 2, registers: 0 },
  display: { memory: 0, registers: undefined },
};
const page = 4096n;

interface Holding {
  role: Role;
  owner: boolean;
  iommufd: Iommufd;
  ioas: Ioas;
  device: VfioDevice;
  maps: MappedRegion[];
  buffers: DmaBuf[];
  mappings: IoasMapping[];
  memories: DmaMemory[];
}

/** Runs an operation. An error that is not allowed ends the soak. */
async function attempt(name: string, allowed: readonly string[], run: () => unknown): Promise<boolean> {
  Atomics.add(words, 1 + index, 1);
  try {
    await run();
    tally[name] = (tally[name] ?? 0) + 1;
    return true;
  } catch (error) {
    const code = (error as { code?: string }).code ?? '';
    if (!allowed.includes(code)) throw new Error(`thread ${String(index)}: ${name}`, { cause: error });
    const key = `${name}: ${code}`;
    tally[key] = (tally[key] ?? 0) + 1;
    return false;
  }
}

/** Binds a device, unless another thread has bound it. */
async function own(role: Role): Promise<Holding | undefined> {
  const iommufd = Iommufd.open(kernel ? { kernel } : {});
  let device: VfioDevice | undefined;
  // EINVAL: the device is bound already.
  await attempt('bind', ['EINVAL'], async () => {
    device = await VfioDevice.open(addressOf(reference, role), { iommufd });
  });
  if (!device) {
    iommufd.close();
    return undefined;
  }
  device.command.memory = true;
  device.command.busMaster = true;
  offers.offer(roles.indexOf(role), { device: device.fd, iommufd: iommufd.fd });
  return hold(role, true, iommufd, device);
}

/** Opens duplicates of another thread's device and iommufd. */
function share(role: Role): Holding | undefined {
  const opts = kernel ? { kernel } : {};
  const taken = offers.take(roles.indexOf(role), (fds) => ({
    iommufd: Iommufd.fromFd(fds.iommufd, opts),
    device: VfioDevice.openSync(fds.device, opts),
  }));
  if (!taken) return undefined;
  tally['share'] = (tally['share'] ?? 0) + 1;
  return hold(role, false, taken.iommufd, taken.device);
}

function hold(role: Role, owner: boolean, iommufd: Iommufd, device: VfioDevice): Holding {
  const ioas = iommufd.allocIoas();
  return { role, owner, iommufd, ioas, device, maps: [], buffers: [], mappings: [], memories: [] };
}

/** The engine has one set of registers, so transfers of several threads must not overlap. */
async function withEngine(run: () => Promise<void>): Promise<void> {
  while (Atomics.compareExchange(words, 0, 0, 1) !== 0) await sleep(1);
  try {
    await run();
  } finally {
    Atomics.store(words, 0, 0);
  }
}

const engine = { source: 0x80, destination: 0x88, count: 0x90, command: 0x98, buffer: 0x40000n };

async function untilIdle(registers: MappedRegion): Promise<void> {
  while ((registers.read32(engine.command) & 1) !== 0) await sleep(5);
}

/** One transfer into this thread's memory. Other threads may prevent its completion. */
async function transfer({ device, ioas }: Holding): Promise<void> {
  await device.attach(ioas);
  const memory = DmaMemory.alloc(4096, kernel ? { kernel } : {});
  const bytes = new Uint8Array(memory.buffer).fill(index + 1);
  const registers = device.region(0).map();
  const mapping = await ioas.mapMemory(memory);
  try {
    await withEngine(async () => {
      for (const [source, destination, command] of [
        [mapping.iova, engine.buffer, 1],
        [engine.buffer, mapping.iova + 2048n, 3],
      ] as const) {
        await untilIdle(registers);
        registers.write64(engine.source, source);
        registers.write64(engine.destination, destination);
        registers.write64(engine.count, 64);
        registers.write32(engine.command, command);
        await untilIdle(registers);
      }
    });
    const arrived = bytes.subarray(2048, 2048 + 64).every((byte) => byte === index + 1);
    tally[arrived ? 'a DMA arrived' : 'a DMA was lost'] =
      (tally[arrived ? 'a DMA arrived' : 'a DMA was lost'] ?? 0) + 1;
  } finally {
    mapping.close();
    registers.close();
    memory.close();
  }
}

const off = 'ERR_MEMORY_DISABLED';

/** The operations on open objects, with the errors that other threads can cause. */
const things: Record<string, { may: string[]; only?: (held: Holding) => boolean; run: (held: Holding) => unknown }> = {
  attach: { may: [], run: ({ device, ioas }) => device.attach(ioas) },
  detach: { may: [], run: ({ device }) => device.detach() },
  // EAGAIN: another thread is resetting the device.
  reset: { may: ['EAGAIN'], run: ({ device }) => device.reset() },
  'two resets at once': { may: ['EAGAIN'], run: ({ device }) => Promise.all([device.reset(), device.reset()]) },
  'memory off and on': {
    may: [],
    // Also while other threads load from its registers.
    only: ({ role }) => role !== 'engine',
    run: async ({ device }) => {
      device.command.memory = false;
      if (random(2) > 0) await sleep(random(3));
      device.command.memory = true;
    },
  },
  'map a region': {
    may: [],
    only: ({ role, maps }) => role !== 'display' && maps.length < 4,
    run: ({ device, role, maps }) => maps.push(device.region(bars[role].registers ?? 0).map({ length: page })),
  },
  'map memory of the device': {
    may: [],
    only: ({ role, maps }) => role === 'ssd' && maps.length < 4,
    run: ({ device, maps }) => maps.push(device.region(2).map({ length: 16n * page })),
  },
  'read registers': {
    may: [off],
    only: ({ maps }) => maps.length > 0,
    run: ({ maps }) => {
      const registers = pick(maps);
      for (let i = 0; i < 50; i += 1) registers?.read32(4 * random(8));
      registers?.read(0, new Uint32Array(16));
    },
  },
  'write memory of the device': {
    may: [off],
    only: ({ maps }) => maps.length > 0,
    run: ({ maps }) => {
      const memory = maps.find((map) => map.region.index === 2);
      for (let i = 0; i < 50; i += 1) memory?.write32(4 * random(1024), i);
    },
  },
  'unmap a region': { may: [], only: ({ maps }) => maps.length > 0, run: ({ maps }) => maps.pop()?.close() },
  // EIO: memory decoding is disabled.
  'read through the kernel': {
    may: ['EIO'],
    run: ({ device, role }) => device.region(bars[role].memory ?? 0).read32(0),
  },
  'read config space': { may: [], run: ({ device }) => device.config.read32(0) },
  export: {
    may: [],
    only: ({ role, buffers }) => bars[role].memory !== undefined && buffers.length < 8,
    run: ({ device, role, buffers }) =>
      buffers.push(device.exportDmaBuf({ region: bars[role].memory ?? 0, offset: 0n, length: 16n * page })),
  },
  // ENODEV: the dma-buf is revoked, as memory decoding is disabled or the device is being reset.
  'map a dma-buf': {
    may: ['ENODEV'],
    only: ({ buffers, mappings }) => buffers.length > 0 && mappings.length < 16,
    run: ({ ioas, buffers, mappings }) => {
      const buffer = pick(buffers);
      if (buffer) mappings.push(ioas.mapDmaBuf(buffer));
    },
  },
  // EEXIST: a failed remap has released the IOVAs, and another mapping of this thread uses them.
  remap: {
    may: ['ENODEV', 'EEXIST'],
    only: ({ mappings }) => mappings.length > 0,
    run: ({ mappings }) => pick(mappings)?.remap(),
  },
  'unmap a dma-buf': {
    may: [],
    only: ({ mappings }) => mappings.length > 0,
    run: ({ mappings }) => mappings.pop()?.close(),
  },
  'map memory': {
    may: [],
    only: ({ memories }) => memories.length < 4,
    run: async ({ ioas, memories }) => {
      const memory = DmaMemory.alloc(65_536, kernel ? { kernel } : {});
      memories.push(memory);
      new Uint8Array(memory.buffer).fill(index);
      await ioas.mapMemory(memory);
    },
  },
  'free memory': {
    may: [],
    only: ({ memories }) => memories.length > 0,
    run: ({ memories }) => memories.shift()?.close(),
  },
  DMA: { may: [off], only: ({ role }) => role === 'engine', run: transfer },
  'leave garbage': {
    may: [],
    only: ({ role }) => bars[role].memory !== undefined,
    run: ({ device, role }) => {
      device.exportDmaBuf({ region: bars[role].memory ?? 0, offset: 0n, length: page });
    },
  },
};

async function useFor(held: Holding, count: number): Promise<void> {
  const names = Object.keys(things);
  for (let i = 0; i < count; i += 1) {
    const name = names[random(names.length)] ?? '';
    const thing = things[name];
    if (thing && (thing.only?.(held) ?? true)) await attempt(name, thing.may, () => thing.run(held));
  }
}

/** Closes some objects in random order, and then all of them, while calls are under way. */
async function letGo(held: Holding): Promise<void> {
  const left: Promise<unknown>[] = [];
  if (random(3) === 0) left.push(attempt('a reset under close', ['EAGAIN', 'ERR_CLOSED'], () => held.device.reset()));
  if (random(3) === 0) left.push(attempt('an attach under close', ['ERR_CLOSED'], () => held.device.attach(held.ioas)));
  if (held.owner) offers.withdraw(roles.indexOf(held.role));
  const order = [...held.maps, ...held.buffers, ...held.mappings, ...held.memories, held.device, held.iommufd];
  await attempt('close', [], () => {
    for (let i = random(order.length); i > 0; i -= 1) order[random(order.length)]?.close();
    for (const object of order) object.close();
  });
  await Promise.all(left);
}

async function main(): Promise<void> {
  const deadline = Date.now() + 1000 * seconds;
  while (Date.now() < deadline) {
    const role = pick(roles) ?? 'ssd';
    const held = random(2) > 0 ? await own(role) : share(role);
    if (!held) {
      await sleep(random(4));
      continue;
    }
    try {
      await useFor(held, 5 + random(60));
    } finally {
      await letGo(held);
    }
  }
  parentPort?.postMessage(tally);
}

void main();
