// Objects of every class, as receivers and arguments of the fuzzer's calls: open, closed, and of another kernel. Also
// valid calls, which the fuzzer modifies.
import {
  DmaBuf,
  DmaHeap,
  DmaMemory,
  Eventfd,
  FdChannel,
  FdServer,
  ShareServer,
  Iommufd,
  KernelError,
  NvmeController,
  PciTopology,
  PeerShare,
  VfioContainer,
  VfioDevice,
  type InterruptIndex,
} from '../../../lib';
import { Counts } from '../../../lib/events/counter';
import { FakeKernel, FenceTimeline } from '../../../lib/fake';
import { native } from '../../../lib/addon/native';
import { key } from '../../../lib/errors/key';
import type { Random } from './random';
import type { Sample } from './values';

/** The name of an object's class. */
export function classOf(object: object): string {
  let prototype: object | null = object;
  while (prototype && !Object.hasOwn(prototype, 'constructor')) prototype = Reflect.getPrototypeOf(prototype);
  return prototype?.constructor.name ?? 'null';
}

function kernelError(kernel: FakeKernel): KernelError {
  try {
    Iommufd.open({ kernel, path: '/dev/vfio/none' });
  } catch (error) {
    if (error instanceof KernelError) return error;
  }
  throw new Error('opening nothing did not fail');
}

function enabled(index: InterruptIndex): InterruptIndex {
  const { count } = index.info; // not all vectors, since each takes an fd
  if (count > 0) index.enable(Math.min(count, 4));
  return index;
}

const vfToken = '01234567-89ab-cdef-0123-456789abcdef';

/** A mock device of the fake kernel, whose IOMMU has every feature (IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS). */
function mockDevice(kernel: FakeKernel, iommufd: Iommufd) {
  const command = Buffer.alloc(72);
  command.writeUInt32LE(command.length, 0);
  command.writeUInt32LE(12, 4);
  command.writeUInt32LE(iommufd.allocIoas().id, 8);
  native.fakeIommufdTest(kernel.handle, iommufd.fd, command, undefined);
  return { iommufd, id: command.readUInt32LE(24) };
}

/** The open and closed objects of one kernel. */
let sockets = 0;

/** A name in the abstract namespace, which leaves no file when the socket is closed. */
function socketPath(): string {
  sockets += 1;
  return `@vfio-dmabuf-fuzz-${String(process.pid)}-${String(sockets)}`;
}

function build(kernel: FakeKernel) {
  const iommufd = Iommufd.open({ kernel });
  const ioas = iommufd.allocIoas();
  const [ssd, engine, display] = ['ssd', 'engine', 'display'].map((role) =>
    VfioDevice.openSync(kernel.addressOf(role), { iommufd }),
  ) as [VfioDevice, VfioDevice, VfioDevice];
  const [serial, serialTwin, framebuffer] = ['serial', 'serialTwin', 'framebuffer'].map((role) =>
    VfioDevice.openSync(kernel.addressOf(role), { iommufd }),
  ) as [VfioDevice, VfioDevice, VfioDevice];
  // Device state persists when a device is closed.
  for (const device of [serial, serialTwin]) device.resetSync();
  framebuffer.region(2).write(0x502, new Uint8Array(new Uint16Array([128, 128, 32, 1]).buffer));
  const unbound = VfioDevice.openSync(kernel.addressOf('ports'), { kernel });
  const physical = VfioDevice.openSync(kernel.addressOf('physical'), { iommufd, vfToken });
  const virtual = VfioDevice.openSync(kernel.addressOf('virtual0'), { iommufd, vfToken });
  engine.attachSync(ioas);
  engine.command.busMaster = true;
  const memory = DmaMemory.alloc(0x10000, { kernel });
  const cmb = ssd.exportDmaBuf({ region: 2, offset: 0n, length: 0x10000n });
  const part = { offset: 0x20000n, length: 4096n };
  const topology = PciTopology.read({ sysfs: kernel.sysfs });
  const heap = DmaHeap.open('system', { kernel });
  const heapBuffer = heap.allocSync(0x4000);
  const timeline = FenceTimeline.open({ kernel });
  const container = VfioContainer.open({ kernel });
  const grouped = VfioDevice.openSync(kernel.addressOf('virtual1'), { container, vfToken });
  const { group } = grouped;
  if (!group) throw new Error('not opened through its group');
  const split = ssd.exportDmaBuf({ region: 2, ranges: [part, part] });
  const mock = mockDevice(kernel, iommufd);
  const nestParent = ioas.allocHwptSync(mock, { nestParent: true });
  const viommu = iommufd.allocViommu(mock, nestParent, { type: 0xdeadbeef });
  const [channel, otherEnd] = FdChannel.pair({ kernel });
  const fdServer = FdServer.listen(socketPath(), { kernel });
  return {
    channel,
    otherEnd,
    fdServer,
    client: FdChannel.connect(fdServer.path, { kernel }),
    shareServer: new ShareServer(socketPath(), [{ name: 'a', dmaBuf: cmb }], { kernel }),
    kernel,
    iommufd,
    ioas,
    spare: iommufd.allocIoas(),
    ssd,
    engine,
    display,
    unbound,
    physical,
    virtual,
    nvme: new NvmeController(ssd),
    share: new PeerShare(
      key,
      ssd,
      { region: 2, offset: 0n },
      [split, ioas.mapDmaBuf(cmb, { iova: 0x300_0000n })],
      () => undefined,
    ),
    small: VfioDevice.openSync(kernel.addressOf('twin1'), { iommufd }).region(0),
    command: engine.command,
    config: ssd.config,
    region: ssd.region(2),
    serial,
    serialTwin,
    framebuffer,
    migration: serial.migration,
    dmaLogging: serial.dmaLogging,
    gfx: framebuffer.gfx,
    saved: serial.migration.setStateSync('pre-copy'),
    resumed: serialTwin.migration.setStateSync('resuming'),
    registers: engine.region(0).map(),
    cmbPages: ssd.region(2).map({ offset: 4096n, length: 0x8000n }),
    videoMemory: display.region(0).map({ length: 0x10000n }),
    memory,
    cmb,
    split,
    hwpt: ioas.allocHwptSync(engine, { pasid: true }),
    faults: iommufd.allocFaultQueue(),
    nestParent,
    viommu,
    vdevice: viommu.allocVdevice(mock, 5),
    events: viommu.allocEventQueue({ type: 'arm-smmuv3', depth: 4 }),
    udmabuf: memory.exportDmaBuf(),
    udmabufOfTwo: DmaBuf.fromMemory([{ memory, length: 4096 }, { memory }], { kernel }),
    heap,
    heapBuffer,
    mapped: heapBuffer.map(),
    mappedToRead: heapBuffer.map({ access: 'r', offset: 4096 }),
    timeline,
    fence: timeline.createFence(3),
    idle: heapBuffer.exportSyncFile(),
    peer: ioas.mapDmaBuf(cmb, { iova: 0x100_0000n }),
    host: ioas.mapMemorySync(memory, { iova: 0x200_0000n }),
    hwQueue: viommu.allocHwQueue({ type: 0xdead_beef, index: 0, iova: 0x200_0000n, length: 4096 }),
    error: kernelError(kernel),
    eventfd: Eventfd.create({ kernel }),
    ring: ssd.region(2).ioeventfd({ offset: 0x4000, width: 4, value: 1 }),
    msix: enabled(ssd.interrupts.msix),
    intx: enabled(display.interrupts.intx),
    container,
    grouped,
    group,
    dma: container.mapMemorySync(memory, { iova: 0x100_0000n }),
    dmaOfBar: container.mapRegion(grouped.region(0), { iova: 0x200_0000n, length: 4096 }),
    topology,
    matrix: topology.p2pMatrix(),
  };
}

export type Objects = ReturnType<typeof build>;

type Closeable = Record<'close', () => void>;

function isCloseable(value: unknown): value is Closeable {
  return typeof value === 'object' && value !== null && 'close' in value && typeof value.close === 'function';
}

/** An object of the library. */
export type ObjectSample = Sample & { value: object };

export class Fixture {
  readonly objects: Objects;
  readonly #live = new Map<string, ObjectSample[]>();
  readonly #samples: ObjectSample[] = [];
  readonly #others: readonly ObjectSample[];
  #buffer: ArrayBuffer;

  /** @param others further objects to pass as arguments: closed ones, and ones of another kernel */
  constructor(kernel: FakeKernel, others: readonly ObjectSample[]) {
    this.objects = build(kernel);
    this.#others = others;
    this.#buffer = this.objects.memory.buffer;
    for (const [name, object] of Object.entries(this.objects)) if (object) this.add(name, object);
  }

  /** @param forged whether it was made without the published functions */
  add(label: string, object: object, forged = false): void {
    const name = classOf(object);
    const sample = { label, value: object, forged };
    const list = this.#live.get(name);
    if (list) list.push(sample);
    else this.#live.set(name, [sample]);
    this.#samples.push(sample);
  }

  get samples(): readonly ObjectSample[] {
    return this.#samples;
  }

  /** The DMA memory's pages; 8 other bytes if the memory is closed. */
  get buffer(): ArrayBuffer {
    if (this.#buffer.byteLength === 0) this.#buffer = new ArrayBuffer(8);
    return this.#buffer;
  }

  /** The same bytes, transferred to another ArrayBuffer if Node has transfer() (from 22 on). */
  takeBuffer(): ArrayBuffer {
    const { buffer } = this;
    const { transfer } = buffer as { transfer?: () => ArrayBuffer };
    return transfer?.call(buffer) ?? buffer;
  }

  /** A random object of the library. */
  any(random: Random): ObjectSample {
    return random.percent(85) ? random.pick(this.#samples) : random.pick(this.#others);
  }

  /** An object of this class, if there is one. */
  instance(name: string, random: Random): Sample {
    const live = this.#live.get(name);
    const others = this.#others.filter(({ value }) => classOf(value) === name);
    if (live && (others.length === 0 || random.percent(85))) return random.pick(live);
    return others.length > 0 ? random.pick(others) : { label: 'undefined', value: undefined };
  }

  /** Adds a label to an argument of a call that should succeed. */
  describe(value: unknown): Sample {
    const known = this.#samples.find((sample) => sample.value === value);
    if (known) return known;
    if (typeof value === 'bigint') return { label: `${value}n`, value };
    if (typeof value !== 'object' || value === null) return { label: String(value), value };
    if (classOf(value) !== 'Object') return { label: classOf(value), value };
    const items = (Object.entries(value) as [string, unknown][]).map(
      ([key, item]) => `${key}: ${this.describe(item).label}`,
    );
    return { label: `{ ${items.join(', ')} }`, value };
  }

  closeQuietly(object: unknown): void {
    try {
      if (isCloseable(object)) object.close();
      else if (object instanceof Counts) void object.return(); // it may wait for another kernel's eventfd
    } catch {
      // Errors of close() are judged in calls that test close().
    }
  }

  /** Closes all objects, children before parents. */
  close(): void {
    for (const { value } of [...this.#samples].reverse()) if (value !== this.objects.kernel) this.closeQuietly(value);
  }
}

/** Closed objects, and open ones of another kernel. */
export function makeOthers(): ObjectSample[] {
  const closed = new Fixture(new FakeKernel(), []);
  const foreign = new Fixture(new FakeKernel(), []);
  // These objects stay open, so waits for a fence or for a peer must end first.
  foreign.objects.timeline.advance(100);
  const { channel, otherEnd, client, fdServer, shareServer } = foreign.objects;
  for (const waited of [channel, otherEnd, client, fdServer, shareServer]) waited.close();
  closed.close();
  closed.objects.kernel.close();
  const named = (prefix: string, samples: readonly ObjectSample[]) =>
    samples.map(({ label, value }) => ({ label: `${prefix} ${label}`, value }));
  return [...named('closed', closed.samples), ...named('foreign', foreign.samples)];
}

/**
 * Calls that are made only with valid arguments. A dma-buf with a fence that is never signaled blocks its waiters in
 * the kernel forever, on the fake kernel as on the real one.
 */
export const onlyValid: ReadonlySet<string> = new Set(['DmaBuf#importSyncFile']);
const migrationStates = ['stop', 'running', 'stop-copy', 'resuming', 'running-p2p', 'pre-copy', 'pre-copy-p2p'];
const loggedRanges = { ranges: [{ iova: 0, length: 1 << 20 }], pageSize: 4096 };

/**
 * Calls that succeed while nothing is closed. Functions that are not listed here are called with random arguments only.
 */
export const validCalls: Record<string, (objects: Objects, random: Random) => unknown[]> = {
  'Iommufd.open': ({ kernel }) => [{ kernel }],
  'Iommufd.fromFd': ({ iommufd, kernel }) => [iommufd.fd, { kernel }],
  'VfioDevice.open': ({ kernel, iommufd, ssd, container }, random) =>
    random.pick<unknown[]>([
      [kernel.addressOf('ports'), { iommufd }],
      [ssd.fd, { kernel }],
      ['/dev/vfio/devices/vfio3', { kernel }],
      [kernel.addressOf('virtual1'), { container, vfToken }],
    ]),
  'VfioDevice.openSync': ({ kernel, iommufd, ssd }, random) =>
    random.pick<unknown[]>([
      [kernel.addressOf('ports'), { iommufd }],
      [ssd.fd, { kernel }],
    ]),
  'VfioDevice#attachPasid': ({ ioas, spare }, random) => [random.pick([ioas, spare]), 1 + random.below(8)],
  'VfioDevice#attachPasidSync': ({ ioas, spare }, random) => [random.pick([ioas, spare]), 1 + random.below(8)],
  'VfioDevice#detachPasid': (_, random) => [1 + random.below(8)],
  'VfioDevice#detachPasidSync': (_, random) => [1 + random.below(8)],
  'VfioDevice#setVfToken': () => [vfToken],
  'VfioDevice#setBusMaster': (_, random) => [random.percent(50)],
  'pciCapabilities()': (_, random) => [Uint8Array.from({ length: random.below(600) }, () => random.below(256))],
  'VfioContainer.open': ({ kernel }) => [{ kernel }],
  'VfioContainer#checkExtension': (_, random) => [random.pick(['TYPE1v2_IOMMU', 'UNMAP_ALL'])],
  'VfioContainer#setIommu': (_, random) => [random.pick(['TYPE1', 'TYPE1v2'])],
  'VfioContainer#setIommuSync': (_, random) => [random.pick(['TYPE1', 'TYPE1v2'])],
  'VfioContainer#mapMemory': ({ memory }, random) => [memory, random.pick<unknown>([undefined, { length: 4096 }])],
  'VfioContainer#mapMemorySync': ({ memory }, random) => [memory, random.pick<unknown>([undefined, { length: 4096 }])],
  'VfioContainer#mapRegion': ({ grouped, ssd }, random) => [random.pick([grouped, ssd]).region(0), { length: 4096 }],
  'VfioContainer#unmap': (_, random) => random.pick<unknown[]>([[], [0x100_0000n, 0x10000n]]),
  'VfioContainer#unmapDirty': () => [0x100_0000n, 0x10000n],
  'VfioContainer#dirtyPages': () => [0x100_0000n, 0x10000n],
  'VfioContainer#invalidateAddresses': (_, random) => random.pick<unknown[]>([[], [0x100_0000n, 0x10000n]]),
  'VfioGroup.open': ({ kernel, ssd }) => [ssd.address, { kernel }],
  'VfioGroup#setContainer': ({ container, iommufd }, random) => [random.pick([container, iommufd])],
  'VfioGroup#setContainerSync': ({ container, iommufd }, random) => [random.pick([container, iommufd])],
  'VfioDevice#bind': ({ iommufd }, random) => [iommufd, random.pick([{}, { vfToken }])],
  'VfioDevice#bindSync': ({ iommufd }, random) => [iommufd, random.pick([{}, { vfToken }])],
  'VfioDevice#attach': ({ ioas, spare, hwpt }, random) => [random.pick([ioas, spare, hwpt])],
  'VfioDevice#attachSync': ({ ioas, spare, hwpt }, random) => [random.pick([ioas, spare, hwpt])],
  'VfioDevice#region': (_, random) => [random.below(9)],
  'FdChannel.pair': ({ kernel }) => [{ kernel }],
  'FdChannel.connect': ({ fdServer, kernel }) => [fdServer.path, { kernel }],
  'FdChannel.fromFd': ({ channel, kernel }) => [channel.fd, { kernel }],
  'FdChannel#send': ({ cmb }) => ['some bytes', [cmb]],
  'FdServer.listen': ({ kernel }) => [socketPath(), { kernel }],
  'new ShareServer': ({ cmb, kernel }) => [socketPath(), [{ name: 'b', dmaBuf: cmb }], { kernel }],
  'ReceivedFd.fromProcess': ({ memory, cmb, kernel }, random) => [
    process.pid,
    random.pick([memory, cmb]).fd,
    { kernel },
  ],
  'new NvmeController': ({ ssd }) => [ssd],
  'NvmeController#enableCmb': (_, random) => [
    random.pick<unknown>([undefined, { controllerAddress: 0x40_0000_0000n }]),
  ],
  'NvmeController#doorbell': (_, random) => [random.below(600), random.pick(['submission', 'completion'])],
  'NvmeController#doorbells': (_, random) => [random.below(600)],
  'videoMemory()': ({ display }) => [display],
  'PeerSpace.open': ({ kernel }) => [{ kernel, devices: [kernel.addressOf('disk')] }],
  'PeerSpace#device': ({ kernel }) => [kernel.addressOf('disk')],
  'PeerSpace#share': ({ kernel }) => [kernel.addressOf('disk'), { region: 2, length: 4096 }],
  'PeerSpace#memory': () => [4096],
  'PeerSpace#reset': ({ kernel }) => [kernel.addressOf('disk')],
  'PeerSpace#path': ({ kernel }) => [kernel.addressOf('disk'), kernel.addressOf('disk')],
  'ShareClient.connect': ({ shareServer, kernel }) => [shareServer.path, { kernel }],
  'Eventfd.create': ({ kernel }, random) => [{ kernel, count: random.below(3) }],
  'Eventfd.fromFd': ({ kernel, eventfd }) => [eventfd.fd, { kernel }],
  'Eventfd#signal': (_, random) => random.pick<unknown[]>([[], [3]]),
  'InterruptIndex#enable': ({ eventfd }, random) => [random.pick<unknown>([undefined, 2, [true, null, eventfd]])],
  'InterruptIndex#trigger': (_, random) => random.pick<unknown[]>([[], [1, 2], [0, [true, false]]]),
  'InterruptIndex#mask': () => [],
  'InterruptIndex#unmask': () => [],
  'InterruptIndex#unmaskBy': ({ eventfd }, random) => [random.pick<unknown>([eventfd, null])],
  'InterruptIndex#listen': (_, random) => [random.below(3)],
  'Region#ioeventfd': ({ eventfd }, random) => [
    { offset: 8 * random.below(512), width: 4, value: random.below(100), ...(random.percent(50) && { eventfd }) },
  ],
  'VfioDevice#irqInfo': (_, random) => [random.below(5)],
  'VfioDevice#probe': (_, random) => [random.pick(['DMA_BUF', 'BUS_MASTER', 'LOW_POWER_ENTRY'])],
  'VfioDevice#exportDmaBuf': (_, random) => [
    random.pick<unknown>([
      { region: 2, offset: 4096n * BigInt(random.below(64)), length: 4096n },
      { region: 0, ranges: [{ offset: 0, length: 4096 }] },
    ]),
  ],
  'Ioas#mapDmaBuf': ({ cmb }, random) => [
    cmb,
    random.pick<unknown>([undefined, { access: 'r' }, { offset: 4096n, length: 4096 }]),
  ],
  'Ioas#mapMemory': ({ memory }, random) => [memory, random.pick<unknown>([undefined, { length: 4096 }])],
  'Ioas#mapMemorySync': ({ memory }, random) => [memory, random.pick<unknown>([undefined, { length: 4096 }])],
  'Ioas#mapFile': ({ memory }) => [memory.fd, { length: 4096 }],
  'Ioas#mapFileSync': ({ memory }) => [memory.fd, { length: 4096 }],
  'Ioas#unmap': (_, random) => random.pick<unknown[]>([[], [0x100_0000n, 0x10000n]]),
  'Ioas#allocHwpt': ({ engine }, random) => [engine, random.pick<unknown>([undefined, { pasid: true }])],
  'Ioas#allocHwptSync': ({ engine }, random) => [engine, random.pick<unknown>([undefined, { pasid: true }])],
  'Ioas#allowIovas': (_, random) => [random.pick<unknown>([[], [{ start: 0x10_0000n, last: 0x1fff_ffffn }]])],
  'set Ioas#hugePages': (_, random) => [random.percent(50)],
  'Ioas#noiommuPhysical': () => [0x200_0000n, 4096],
  'Hwpt#invalidate': (_, random) => [
    random.pick<unknown>([
      { type: 'vtd-s1', entries: [{ address: 0, pages: 1 }] },
      { type: 'arm-smmuv3', commands: [[0, 0]] },
      { type: 0xdeadbeef, entryLength: 8, bytes: new Uint8Array(16) },
    ]),
  ],
  'FaultQueue#respond': (_, random) => [{ cookie: random.pick([0, 1]) }, random.pick(['success', 'invalid'])],
  'Viommu#invalidate': () => [{ type: 0xdeadbeef, entryLength: 12, bytes: new Uint8Array(12) }],
  'Iommufd#allocViommu': ({ engine, hwpt }) => [engine, hwpt, { type: 'arm-smmuv3' }],
  'Viommu#allocHwQueue': () => [{ type: 0xdead_beef, index: 1, iova: 0x200_1000n, length: 4096 }],
  'Viommu#allocVdevice': ({ engine }) => [engine, 7n],
  'Viommu#allocEventQueue': () => [{ type: 'arm-smmuv3', depth: 4 }],
  'FaultQueue#listen': () => [{ signal: AbortSignal.abort() }],
  'Hwpt#setDirtyTracking': (_, random) => [random.percent(50)],
  'Hwpt#dirtyBitmap': () => [{ iova: 0x200_0000n, length: 0x10000 }],
  'Hwpt#dirtyPages': () => [{ pageSize: 8192 }],
  'Hwpt#allocNested': ({ engine }) => [engine, { type: 'vtd-s1', pageTable: 0x1000n, addressWidth: 48 }],
  'Hwpt#allocNestedSync': ({ engine }) => [engine, { type: 'vtd-s1', pageTable: 0x1000n, addressWidth: 48 }],
  'Iommufd#hwInfo': ({ engine }, random) => [engine, random.pick<unknown>([undefined, { type: 'intel-vtd' }])],
  'Iommufd#adoptIoas': (_, random) => [random.below(8)],
  'set Iommufd#rlimitMode': () => ['process'],
  'Iommufd#setVfioIoas': ({ ioas, spare }, random) => [random.pick([ioas, spare, undefined])],
  'IoasMapping#remap': ({ cmb }, random) => (random.percent(50) ? [] : [cmb]),
  'Migration#setState': (_, random) => [random.pick(migrationStates)],
  'Migration#setStateSync': (_, random) => [random.pick(migrationStates)],
  'Migration#save': (_, random) => [random.pick<unknown>([undefined, { preCopy: true }])],
  'Migration#resume': () => [{ highWaterMark: 16 }],
  'Migration#moveTo': ({ serial, serialTwin }, random) => [
    random.pick([serial, serialTwin]),
    random.pick<unknown>([undefined, { preCopy: true, start: false }]),
  ],
  'MigrationData#read': (_, random) => [1 + random.below(64)],
  'MigrationData#readSync': (_, random) => [1 + random.below(64)],
  'MigrationData#write': () => [new Uint8Array(8)],
  'MigrationData#writeSync': () => [new Uint8Array(8)],
  'DmaLogging#start': () => [loggedRanges],
  'DmaLogging#startSync': () => [loggedRanges],
  'DmaLogging#report': () => [{ iova: 0, length: 1 << 20, pageSize: 4096 }],
  'DmaLogging#reportSync': () => [{ iova: 0, length: 1 << 20, pageSize: 4096 }],
  'Gfx#plane': (_, random) => [random.pick(['primary', 'cursor'])],
  'Gfx#dmaBuf': () => [1],
  'DmaBuf.fromFd': ({ cmb, kernel }) => [cmb.fd, { kernel }],
  'DmaBuf.fromMemory': ({ memory, kernel }, random) => [
    Array.from({ length: random.below(4) }, () => ({ memory: random.pick([memory, memory.fd]), length: 8192n })),
    { kernel },
  ],
  'set DmaBuf#name': () => ['ein Name'],
  'DmaBuf#map': (_, random) => [random.pick<unknown>([undefined, { offset: 4096n, length: 5 }, { access: 'r' }])],
  'DmaBuf#idle': (_, random) => [random.pick(['r', 'w', 'rw']), random.pick([undefined, {}])],
  'DmaBuf#cpuAccess': (_, random) => ['rw', random.pick([() => 7, async () => 'later'])],
  'DmaBuf#exportSyncFile': () => ['w'],
  'DmaBuf#importSyncFile': ({ idle }) => [idle, 'r'],
  'MappedDmaBuf#read': (_, random) => [random.below(0x3ff0), new Uint8Array(16)],
  'MappedDmaBuf#write': (_, random) => [random.below(0x3ff0), new Uint8Array(16)],
  'DmaHeap.open': ({ kernel }) => ['system', { kernel }],
  'DmaHeap.list': ({ kernel }) => [{ kernel }],
  'DmaHeap#alloc': (_, random) => [1 << random.below(16), { access: random.pick(['r', 'w', 'rw']) }],
  'DmaHeap#allocSync': (_, random) => [1 << random.below(16)],
  'SyncFile.fromFd': ({ fence, kernel }) => [fence.fd, { kernel }],
  'SyncFile#merge': ({ fence }) => [fence, { name: 'both' }],
  'SyncFile#setDeadline': () => [1000n],
  'FenceTimeline.open': ({ kernel }) => [{ kernel }],
  'FenceTimeline#createFence': (_, random) => [random.below(6)],
  'FenceTimeline#advance': () => [1],
  'FenceTimeline#deadline': ({ fence }) => [fence],
  'DmaMemory#seal': (_, random) => [random.pick(['grow', 'future-write'])],
  'DmaMemory.alloc': ({ kernel }, random) => [1 << random.below(16), { kernel }],
  'DmaMemory#exportDmaBuf': () => [{ offset: 4096, length: 4096n }],
  'Region#map': (_, random) => [random.pick<unknown>([undefined, { offset: 4096, length: 4096n }])],
  'Region#read': (_, random) => [8 * random.below(16), new Uint8Array(8)],
  'Region#write': (_, random) => [8 * random.below(16), new Uint8Array(8)],
  'PciTopology.read': ({ kernel }) => [{ sysfs: kernel.sysfs }],
  'PciTopology#find': ({ ssd }) => [ssd],
  'PciTopology#p2pPath': ({ ssd, engine }) => [ssd, engine.address],
  'PciTopology#sharedIoas': ({ ssd, engine }) => [[ssd, engine], { length: 4096 }],
  'P2pMatrix#verdict': (_, random) => [random.below(8), random.below(8)],
  'P2pMatrix#path': (_, random) => [random.below(8), random.below(8)],
  'FakeKernel#addressOf': () => ['engine'],
  'new KernelError': () => [{ errno: 22, syscall: 'ioctl', message: 'Invalid argument' }, {}],
  'MappedRegion#read': (_, random) => [8 * random.below(24), new Uint32Array(2)],
  'MappedRegion#write': (_, random) => [8 * random.below(24), new BigUint64Array([0x40000n, 0x200_0000n])],
};
for (const owner of ['Region', 'MappedRegion']) {
  for (const width of [8, 16, 32, 64]) {
    validCalls[`${owner}#read${width}`] = (_, random) => [8 * random.below(24)];
    validCalls[`${owner}#write${width}`] = (_, random) => [8 * random.below(24), random.pick([0, 1, 3, 255])];
  }
}
