// Loads the native addon when one of its functions is first used, and declares its types. No other file loads it; they
// use these functions and opaque handles.
import { loadAddon } from './load';

declare const tag: unique symbol;
/** An opaque object owned by native code. `T` names its kind. @internal */
export interface Handle<T extends string> {
  readonly [tag]: T;
}
/** @internal */ export type KernelHandle = Handle<'kernel'>;
/** @internal */ export type FdHandle = Handle<'fd'>;
/** @internal */ export type TraceHandle = Handle<'trace'>;
/** @internal */ export type PollHandle = Handle<'poll'>;
/** @internal */ export type IoasHandle = Handle<'ioas'>;
/** @internal */ export type HwptHandle = Handle<'hwpt'>;
/** @internal */ export type FaultQueueHandle = Handle<'faultQueue'>;
/** @internal */ export type ViommuHandle = Handle<'viommu'>;
/** @internal */ export type VdeviceHandle = Handle<'vdevice'>;
/** @internal */ export type HwQueueHandle = Handle<'hwQueue'>;
/** @internal */ export type VeventQueueHandle = Handle<'veventQueue'>;
/** @internal */ export type VfioHandle = Handle<'vfio'>;
/** @internal */ export type MappingHandle = Handle<'mapping'>;
/** @internal */ export type SlowReceiveHandle = Handle<'slowReceive'>;

/** The array types of a block access. Each element is one access of the element's width. */
export type RegisterArray = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

/** @internal */
export interface NativeRegisters {
  read8: (offset: number) => number;
  read16: (offset: number) => number;
  read32: (offset: number) => number;
  read64: (offset: number) => bigint;
  write8: (offset: number, value: number) => void;
  write16: (offset: number, value: number) => void;
  write32: (offset: number, value: number) => void;
  write64: (offset: number, value: bigint | number) => void;
  read: (offset: number, array: RegisterArray) => void;
  write: (offset: number, array: RegisterArray) => void;
}

/**
 * The frequent calls of one IOAS. The caller first writes the arguments to `words`: fd, start, length, IOVA, access
 * flags, and whether the IOVA is fixed. `mapFd` writes the resulting IOVA to its word. `unmap` uses IOVA and length.
 * @internal
 */
export interface NativeIoas {
  words: BigUint64Array;
  mapFd: () => void;
  unmap: () => void;
}

/** Reads a device's state word (native/core/device_state.h). @internal */
export type WordOf = () => number;

/** The index of each argument in {@link NativeIoas}'s words. @internal */
export const ioasWord = { fd: 0, start: 1, length: 2, iova: 3, access: 4, fixed: 5 } as const;

/** @internal */
export interface NativeInfo {
  flags: number;
  capOffset: number;
  bytes: Uint8Array;
}

/** @internal */
export interface NativeCapability {
  id: number;
  version: number;
  data: Uint8Array;
}

/** @internal */
export interface NativeDevice {
  address: string;
  cdev: string;
  syspath: string;
  model: string;
  config: Uint8Array;
  configWritable: Uint8Array;
  bars: ({ kind: 'memory' | 'registers' | 'io'; size: bigint } | undefined)[];
  romSize: bigint;
  irqs: { flags: number; count: number }[];
  msix: { bar: number; offset: bigint; size: bigint } | undefined;
  group: number;
  /** Whether its IOMMU group has a reserved region of type `direct`. */
  firmwareRegion: boolean;
  virtualFunctions: number;
  /** '' if there is none. */
  physical: string;
  capabilities: readonly NativeCapability[];
  /** The capabilities of each BAR. */
  regionCapabilities: (readonly NativeCapability[])[];
}

/** @internal */
export interface NativeMachine {
  /** Whether the kernel has IOMMUFD, and therefore VFIO's character devices. */
  iommufd: boolean;
  iommu: {
    lastIova: bigint;
    reserved: { start: bigint; last: bigint }[];
    capability: bigint;
    extendedCapability: bigint;
  };
  devices: NativeDevice[];
  mdevs: { cdev: string; type: string }[];
}

/** @internal */
export interface NativePlane {
  format: number;
  modifier: bigint;
  width: number;
  height: number;
  stride: number;
  size: number;
  x: number;
  y: number;
  hotX: number;
  hotY: number;
  /** The dma-buf's id, or the region's index. */
  id: number;
}

/** Returns a result, or a promise of it if the last argument is true. */
interface NowOrLater<Arguments extends unknown[], Result> {
  (...args: [...Arguments, async: false]): Result;
  (...args: [...Arguments, async: true]): Promise<Result>;
}

/** The functions of one kind of iommufd object. @internal */
export interface NativeObject<H> {
  readonly id: (handle: H) => number;
  readonly destroy: (handle: H) => void;
  readonly release: (handle: H) => void;
  readonly destroyLater: (handle: H) => Promise<void>;
}

type MapArguments = [offset: bigint, length: bigint, iova: bigint | undefined, access: number];

/** @internal */
export interface NativeMessage {
  bytes: Uint8Array;
  fds: FdHandle[];
  /** Whether the message had more bytes than the buffer. */
  cut: boolean;
  /** Whether the message had more fds than this process can open. */
  lostFds: boolean;
}

interface Native {
  systemKernel(): KernelHandle;
  /** The system's page size, in bytes. */
  readonly pageSize: bigint;
  /** Makes a folder for a fake machine that outlives this process if a program takes its place. */
  runFolder(parent: string): { root: string; lock: number };
  runLibrary(): string | undefined;
  /** Replaces this process by a program. Returns only by throwing. */
  runProgram(path: string, argumentList: string, environment: string): never;

  fakeKernel(machineText: string, sysfsParent: string): KernelHandle;
  fakeAttach(sysfs: string): KernelHandle | undefined;
  fakeSysfs(kernel: KernelHandle): string;
  fakeShutdown(kernel: KernelHandle): void;
  fakeReplaceNode(kernel: KernelHandle, path: string, target: string): void;
  fakeTakeFaults(kernel: KernelHandle): { device: string; iova: bigint; access: 'read' | 'write'; reason: string }[];
  fakeOpenFiles(kernel: KernelHandle): number;
  fakeOpenMappings(kernel: KernelHandle): number;
  fakeFailCall(kernel: KernelHandle, n: number, errno: number): void;
  fakeFailedCall(kernel: KernelHandle): { name: string; request: number } | undefined;
  /** Runs IOMMU_TEST_CMD on an iommufd of the fake kernel, for tests. */
  fakeIommufdTest(kernel: KernelHandle, fd: number, command: Uint8Array, bitmap: Uint8Array | undefined): number;

  /**
   * Runs any request, for the project's own tests. The memory after `bytes` is unmapped. The answer is written to
   * `bytes`.
   */
  ioctlAtPageEnd(kernel: KernelHandle, fd: number, request: number, bytes: Uint8Array): number;
  /** Memory at a fixed address for the arguments of `rawCall`. Only the addon of a checkout has both. */
  rawMemory?(): ArrayBuffer;
  /** Makes any call of a kernel, for the project's own tests. Returns its result or a negated errno. */
  rawCall?(kernel: KernelHandle, name: string, args: BigUint64Array): bigint;

  fdOpen: NowOrLater<[kernel: KernelHandle, path: string], FdHandle>;
  fdDuplicate(kernel: KernelHandle, number: number): FdHandle;
  fdEventfd(kernel: KernelHandle, count: number): FdHandle;
  fdRead: NowOrLater<[fd: FdHandle, size: number], Uint8Array>;
  fdWrite: NowOrLater<[fd: FdHandle, bytes: Uint8Array], number>;
  fdNumber(fd: FdHandle): number;
  fdInode(fd: FdHandle): bigint;
  /** Returns 'MAJOR:MINOR' of a character device, in the format of sysfs; undefined: not a character device. */
  fdDevice(fd: FdHandle): string | undefined;
  fdPath(fd: FdHandle): string;
  fdShare(fd: FdHandle): FdHandle;

  socketPair(kernel: KernelHandle, type: number): [FdHandle, FdHandle];
  socketConnect(kernel: KernelHandle, path: string, type: number): FdHandle;
  socketListen(
    kernel: KernelHandle,
    path: string,
    type: number,
    mode: number,
    backlog: number,
    refuseFds: boolean,
  ): FdHandle;
  /** Returns undefined if no connection waits. */
  socketAccept(socket: FdHandle): FdHandle | undefined;
  /** Returns the number of bytes sent; undefined: the socket's buffer is full. */
  socketSend(socket: FdHandle, bytes: Uint8Array, fds: Int32Array): number | undefined;
  /** Returns undefined if no message is available. */
  socketReceive(socket: FdHandle, size: number): NativeMessage | undefined;
  /** Whether {@link Native.socketReceive} cannot block. */
  socketHasRoom(socket: FdHandle): boolean;
  /** Prepares a receive on a thread for calls that may block. */
  socketReceiveSlowly(socket: FdHandle, size: number): SlowReceiveHandle;
  /** Starts the receive. Watch {@link Native.slowReceiveReady} first. */
  slowReceiveStart(slow: SlowReceiveHandle): void;
  /** Becomes readable when the receive is done. */
  slowReceiveReady(slow: SlowReceiveHandle): FdHandle;
  slowReceiveTake(slow: SlowReceiveHandle): NativeMessage | undefined;
  /** Returns the next message's size without receiving it. On a stream, `size` is 1. */
  socketPeek(socket: FdHandle): { size: number; fds: boolean } | undefined;
  socketRefuseFds(socket: FdHandle): void;
  socketPeer(socket: FdHandle): { pid: number; uid: number; gid: number; groups: number[] };
  socketUnread(socket: FdHandle): number;
  pidfdGetfd(kernel: KernelHandle, pid: number, fd: number): FdHandle;
  /**
   * Closes an fd. The close of a foreign fd runs on a thread for calls that may block; the caller waits for it only
   * briefly.
   */
  fdClose: NowOrLater<[fd: FdHandle], void>;
  /** Marks an fd that another process sent: its close may block. */
  fdSetForeign(fd: FdHandle): void;
  /** Tries to lock the file (flock(2)). Returns whether this process has the lock. */
  fdLock(kernel: KernelHandle, number: number): boolean;

  traceStart(): TraceHandle;
  traceTake(trace: TraceHandle): {
    calls: { ioctl: string; fd: number; file: string; result: number; start: bigint; duration: number }[];
    dropped: number;
  };
  traceStop(trace: TraceHandle): void;

  pollStart(fd: FdHandle, events: number, listener: (ready: number) => void, counts: false): PollHandle;
  pollStart(fd: FdHandle, events: number, listener: (count: bigint) => void, counts: true): PollHandle;
  pollRef(poll: PollHandle, keepAlive: boolean): void;
  pollClose(poll: PollHandle): void;

  ioasAllocate(iommufd: FdHandle): IoasHandle;
  ioasId(ioas: IoasHandle): number;
  ioasDestroy(ioas: IoasHandle): void;
  ioasRelease(ioas: IoasHandle): void;
  ioasDestroyLater(ioas: IoasHandle): Promise<void>;
  ioasMapFile: NowOrLater<[ioas: IoasHandle, fd: FdHandle, ...MapArguments], bigint>;
  ioasCopy: NowOrLater<
    [ioas: IoasHandle, source: IoasHandle, from: bigint, length: bigint, iova: bigint | undefined, access: number],
    bigint
  >;
  ioasUnmap: NowOrLater<[ioas: IoasHandle, iova: bigint, length: bigint], bigint>;
  ioasHot(ioas: IoasHandle): NativeIoas;
  ioasIovaRanges(ioas: IoasHandle): { ranges: { start: bigint; last: bigint }[]; alignment: bigint };

  ioasAdopt(iommufd: FdHandle, id: number): IoasHandle;
  /** `ranges`: alternating start and last. */
  ioasAllowIovas(ioas: IoasHandle, ranges: BigUint64Array): void;
  ioasHugePages(ioas: IoasHandle): boolean;
  ioasSetHugePages(ioas: IoasHandle, enable: boolean): void;
  ioasPhysical(ioas: IoasHandle, iova: bigint, length: bigint): { address: bigint; length: bigint };
  iommufdRlimitMode(iommufd: FdHandle): number;
  iommufdSetRlimitMode(iommufd: FdHandle, mode: number): void;
  iommufdChangeProcess(iommufd: FdHandle): void;
  iommufdVfioIoas(iommufd: FdHandle): number | undefined;
  iommufdSetVfioIoas(iommufd: FdHandle, ioas: IoasHandle): void;
  iommufdClearVfioIoas(iommufd: FdHandle): void;

  hwptAllocate: NowOrLater<
    [
      parent: IoasHandle | HwptHandle | ViommuHandle,
      device: number,
      flags: number,
      type: number,
      data: Uint8Array,
      faultQueue: FaultQueueHandle | undefined,
    ],
    HwptHandle
  >;
  hwpt: NativeObject<HwptHandle>;
  /** Sets `heeded` to the number of processed entries, also on failure. */
  hwptInvalidate(hwpt: HwptHandle, type: number, entryLength: number, bytes: Uint8Array, heeded: Uint32Array): void;
  hwptSetDirtyTracking(hwpt: HwptHandle, enable: boolean): void;
  hwptGetDirtyBitmap(hwpt: HwptHandle, iova: bigint, length: bigint, pageSize: bigint, keep: boolean): BigUint64Array;
  iommufdHwInfo(
    iommufd: FdHandle,
    device: number,
    type: number | undefined,
  ): { type: number; bytes: Uint8Array; capabilities: bigint; maxPasidLog2: number };
  /** Destroys an object for which the library has no JavaScript object. */
  iommufdDestroy(iommufd: FdHandle, id: number): void;

  faultQueueAllocate(iommufd: FdHandle): FaultQueueHandle;
  faultQueueFile(queue: FaultQueueHandle): FdHandle;
  faultQueue: NativeObject<FaultQueueHandle>;

  /** The answer is written to `data`. */
  viommuAllocate(parent: HwptHandle, device: number, type: number, data: Uint8Array): ViommuHandle;
  viommu: NativeObject<ViommuHandle>;
  viommuInvalidate(
    viommu: ViommuHandle,
    type: number,
    entryLength: number,
    bytes: Uint8Array,
    heeded: Uint32Array,
  ): void;
  vdeviceAllocate(viommu: ViommuHandle, device: number, virtualId: bigint): VdeviceHandle;
  vdevice: NativeObject<VdeviceHandle>;
  hwQueueAllocate(viommu: ViommuHandle, type: number, index: number, iova: bigint, length: bigint): HwQueueHandle;
  hwQueue: NativeObject<HwQueueHandle>;
  veventQueueAllocate(viommu: ViommuHandle, type: number, depth: number): VeventQueueHandle;
  veventQueueFile(queue: VeventQueueHandle): FdHandle;
  veventQueue: NativeObject<VeventQueueHandle>;

  vfioDevice(fd: FdHandle, address: string): VfioHandle;
  vfioClose: NowOrLater<[device: VfioHandle], void>;
  vfioWord(device: VfioHandle): WordOf;
  vfioBind: NowOrLater<[device: VfioHandle, iommufd: FdHandle, token: Uint8Array | undefined], number>;
  vfioAttach: NowOrLater<[device: VfioHandle, table: IoasHandle | HwptHandle], number>;
  vfioDetach: NowOrLater<[device: VfioHandle], void>;
  vfioAttachPasid: NowOrLater<[device: VfioHandle, table: IoasHandle | HwptHandle, pasid: number], number>;
  vfioDetachPasid: NowOrLater<[device: VfioHandle, pasid: number], void>;
  vfioReset: NowOrLater<[device: VfioHandle], void>;
  /** `devices`: id, segment, bus and devfn of each device. */
  vfioHotResetInfo(device: VfioHandle): { flags: number; devices: Uint32Array };
  vfioHotReset: NowOrLater<[device: VfioHandle, addresses: string[], groups: FdHandle[]], void>;
  vfioEnterLowPower: NowOrLater<[device: VfioHandle], void>;
  vfioEnterLowPowerWithWakeUp: NowOrLater<[device: VfioHandle, wakeUp: FdHandle], void>;
  vfioExitLowPower: NowOrLater<[device: VfioHandle], void>;
  vfioInfo(device: VfioHandle): NativeInfo & { regions: number; irqs: number };
  vfioRegionInfo(device: VfioHandle, index: number): NativeInfo & { size: bigint; offset: bigint };
  vfioIrqInfo(device: VfioHandle, index: number): { flags: number; count: number };
  vfioProbe(device: VfioHandle, feature: number, operation: number): boolean;
  vfioSetVfToken(device: VfioHandle, token: Uint8Array): void;
  vfioSetBusMaster(device: VfioHandle, on: boolean): void;
  vfioZpciError(device: VfioHandle): bigint;
  vfioExportDmaBuf(device: VfioHandle, region: number, ranges: BigUint64Array): FdHandle;
  vfioRead(device: VfioHandle, offset: bigint, bytes: Uint8Array): number;
  vfioWrite(device: VfioHandle, offset: bigint, bytes: Uint8Array): number;
  vfioMap(device: VfioHandle, offset: bigint, length: bigint, writable: boolean): MappingHandle;
  /** `action`: a value of {@link irqActions}. With no vector: disables the interrupts if the action is to trigger. */
  irqSet(device: VfioHandle, action: number, index: number, start: number, count: number): void;
  irqSetChosen(device: VfioHandle, action: number, index: number, start: number, chosen: Uint8Array): void;
  irqSetEventfds(device: VfioHandle, action: number, index: number, start: number, numbers: Int32Array): void;
  ioeventfdAdd(device: VfioHandle, offset: bigint, width: number, data: bigint, fd: number): void;
  ioeventfdRemove(device: VfioHandle, offset: bigint, width: number, data: bigint): void;
  eventfdTake(fd: FdHandle): bigint;
  eventfdHot(fd: FdHandle): { take: () => bigint; add: (count: bigint) => void };
  migrationFlags(device: VfioHandle): bigint;
  migrationState(device: VfioHandle): number;
  migrationSetState: NowOrLater<[device: VfioHandle, state: number], FdHandle | undefined>;
  migrationDataSize(device: VfioHandle): bigint;
  migrationEnablePrecopyInfo2(device: VfioHandle): void;
  migrationPrecopyInfo(data: FdHandle): { flags: number; initialBytes: bigint; dirtyBytes: bigint };
  /** `ranges`: alternating IOVA and length. */
  dmaLoggingStart: NowOrLater<[device: VfioHandle, pageSize: bigint, ranges: BigUint64Array], bigint>;
  dmaLoggingStop: NowOrLater<[device: VfioHandle], void>;
  dmaLoggingReport: NowOrLater<[device: VfioHandle, iova: bigint, length: bigint, pageSize: bigint], BigUint64Array>;
  gfxProbe(device: VfioHandle, kind: number): boolean;
  gfxPlane(device: VfioHandle, kind: number, plane: number): NativePlane;
  gfxDmaBuf(device: VfioHandle, id: number): FdHandle;
  registerAccess(mapping: MappingHandle): NativeRegisters;
  mappingRetire(mapping: MappingHandle): void;

  groupStatus(group: FdHandle): number;
  groupSetContainer: NowOrLater<[group: FdHandle, container: FdHandle], void>;
  groupUnsetContainer: NowOrLater<[group: FdHandle], void>;
  groupDeviceFd: NowOrLater<[group: FdHandle, name: string], FdHandle>;
  containerApiVersion(container: FdHandle): number;
  containerExtension(container: FdHandle, extension: number): number;
  containerSetIommu: NowOrLater<[container: FdHandle, type: number], void>;
  containerInfo(container: FdHandle): NativeInfo & { pageSizes: bigint };
  containerMapMemory: NowOrLater<
    [container: FdHandle, memory: FdHandle, offset: bigint, length: bigint, iova: bigint, flags: number],
    MappingHandle
  >;
  containerMapRegion(
    container: FdHandle,
    device: VfioHandle,
    offset: bigint,
    length: bigint,
    iova: bigint,
    flags: number,
    writable: boolean,
  ): MappingHandle;
  containerUnmap: NowOrLater<[container: FdHandle, iova: bigint, size: bigint, flags: number], bigint>;
  containerUnmapDirty(
    container: FdHandle,
    iova: bigint,
    size: bigint,
    pageSize: bigint,
  ): { unmapped: bigint; bitmap: BigUint64Array };
  containerTrackDirtyPages(container: FdHandle, start: boolean): void;
  containerDirtyPages(container: FdHandle, iova: bigint, size: bigint, pageSize: bigint): BigUint64Array;

  dmaBufIs(fd: FdHandle): boolean;
  dmaBufSize(fd: FdHandle): bigint;
  dmaBufSetName(fd: FdHandle, name: string): void;
  dmaBufFdinfo(fd: FdHandle): string;
  dmaBufExport(fd: FdHandle): { ranges: number; word: WordOf } | undefined;
  dmaBufSync(fd: FdHandle): (flags: number) => void;
  dmaBufExportSyncFile(fd: FdHandle, flags: number): FdHandle;
  dmaBufImportSyncFile(fd: FdHandle, syncFile: FdHandle, flags: number): void;
  dmaBufMap(fd: FdHandle, offset: bigint, length: bigint, writable: boolean): MappingHandle;
  udmabufCreate(driver: FdHandle, memfd: FdHandle, offset: bigint, size: bigint): FdHandle;
  /** `words`: fd, offset and size of each item. */
  udmabufCreateList(driver: FdHandle, words: BigUint64Array): FdHandle;
  heapAllocate: NowOrLater<[heap: FdHandle, length: bigint, access: number], FdHandle>;

  syncFileIs(fd: FdHandle): boolean;
  /** A status is 0 (pending), 1 (signaled) or a negative errno. */
  syncFileInfo(fd: FdHandle): {
    name: string;
    status: number;
    fences: { driver: string; timeline: string; status: number; timestamp: bigint }[];
  };
  syncFileMerge(fd: FdHandle, other: FdHandle, name: string): FdHandle;
  syncFileSetDeadline(fd: FdHandle, nanoseconds: bigint): void;
  fenceCreate(timeline: FdHandle, value: number): FdHandle;
  timelineAdvance(timeline: FdHandle, count: number): void;
  fenceDeadline(timeline: FdHandle, syncFile: FdHandle): bigint | undefined;

  memoryAllocate: NowOrLater<
    [kernel: KernelHandle, size: bigint, hugePageLog2: number],
    { fd: FdHandle; mapping: MappingHandle }
  >;
  memoryBuffer(mapping: MappingHandle): ArrayBuffer;
  memoryRead(mapping: MappingHandle, offset: bigint, bytes: Uint8Array): void;
  memoryWrite(mapping: MappingHandle, offset: bigint, bytes: Uint8Array): void;
  memorySeals(memfd: FdHandle): number;
  memorySeal(memfd: FdHandle, seals: number): void;
}

const { create, setPrototypeOf } = Object;

const loader = {
  get: (_: object, name: keyof Native): unknown => {
    const addon = loadAddon() as Readonly<Record<string, unknown>>;
    setPrototypeOf(native, addon);
    return addon[name];
  },
};

/**
 * The addon's functions, inherited. The first access loads the addon.
 *
 * @throws Error ERR_ADDON_…: at each access until the addon can be loaded
 * @internal
 */
export const native = create(new Proxy({}, loader)) as Native;
