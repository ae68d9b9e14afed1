// FakeKernel creates a simulated kernel from a machine description: native device models and a sysfs tree.
import { data, shown } from '../addon/shown';
import { key } from '../errors/key';
import { accessSync, constants as access } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { codedError, kernelCall } from '../errors/errors';
import { Kernel } from '../kernel/kernel';
import { native, type KernelHandle, type NativeDevice } from '../addon/native';
import { integer, fields, outOfRange, string } from '../errors/validate';
import { barFlags, configSpace } from './config-space';
import { deviceKinds, type DeviceKind } from './devices';
import { bridges } from './bridges';
import { addressOf, bridgeAddress, defaultCpu, functionsOf, mdevUuid, type Machine } from './machine';
import { machineText } from './machine-text';
import { reference } from './machines';
import { realiseRecorded } from './recorded-host';
import { checkRecorded, type RecordedHost } from '../kernel/recorded';
import { writeMdev } from './mdev-sysfs';
import { writeSysfs, type SysfsDevice } from './sysfs';

/** A DMA that the IOMMU blocked. */
export interface DmaFault {
  /** The PCI address of the device. */
  device: string;
  /** The first byte of the blocked page. */
  iova: bigint;
  access: 'read' | 'write';
  /**
   * The reason: 'unmapped', 'forbidden' (the mapping does not allow the access), 'revoked', or 'unattached' (the device
   * is not attached to an IOAS).
   */
  reason: string;
}

/**
 * Identifies a fake kernel for {@link FakeKernel.attach | attach} in another thread. It is plain data that can be
 * posted.
 */
export interface FakeKernelToken {
  machine: Machine;
  /** The path of the kernel's sysfs, which is unique. */
  sysfs: string;
}

/** The link of QEMU's endpoints. */
const endpointLink = { speed: 2.5, width: 1, maxSpeed: 2.5, maxWidth: 1 };
const windowStart = 0xfb00_0000n;
const portBase = 0xc000n;
const resourceSlots = 13;

/** Assigns bus addresses. Each BAR is aligned to its size. */
function* layOut(kind: DeviceKind, next: { memory: bigint; io: bigint }): Generator<bigint> {
  for (const bar of kind.bars) {
    const space = bar?.kind === 'io' ? 'io' : 'memory';
    const size = bar?.size ?? 1n;
    const at = ((next[space] + size - 1n) / size) * size;
    if (bar) next[space] = at + size;
    yield bar ? at : 0n;
  }
}

function word(value: bigint): string {
  return `0x${value.toString(16).padStart(16, '0')}`;
}

function resourceFile(bars: DeviceKind['bars'], addresses: readonly bigint[]): string {
  const lines = Array.from({ length: resourceSlots }, (_, i) => {
    const bar = bars[i];
    const start = addresses[i] ?? 0n;
    if (!bar) return [0n, 0n, 0n];
    // Resource flags in addition to the BAR's own bits (ioport.h: IORESOURCE_IO, _MEM, _PREFETCH, _MEM_64)
    const type = bar.kind === 'io' ? 0x100n : 0x200n | (bar.prefetchable ? 0x2000n : 0n) | (bar.wide ? 0x10_0000n : 0n);
    return [start, start + bar.size - 1n, type | 0x4_0000n | BigInt(barFlags(bar))];
  });
  return lines.map((words) => `${words.map(word).join(' ')}\n`).join('');
}

function reservedRegions({ iommu }: Machine): string {
  return iommu.reserved.map(({ start, last }) => `${word(start)} ${word(last)} msi\n`).join('');
}

/** The parent folder of the sysfs trees: TMPDIR if it is set, otherwise /dev/shm if it exists. */
export function parentFolder(): string {
  const memory = '/dev/shm';
  if (process.env['TMPDIR']) return tmpdir();
  try {
    accessSync(memory, access.W_OK | access.X_OK);
    return memory;
  } catch {
    return tmpdir();
  }
}

/** A machine's text form, and the function that writes its sysfs to a folder. */
export interface Prepared {
  text: string;
  writeSysfs: (folder: string) => void;
}

export function prepare(machine: Machine): Prepared {
  const { devices, sysfs } = realise(machine);
  const mdevs = (machine.mdevs ?? []).map(({ type }, i) => ({ cdev: `vfio${String(devices.length + i)}`, type }));
  const { lastIova, reserved, capability = 0n, extendedCapability = 0n } = machine.iommu;
  const iommufd = machine.iommufd ?? true;
  const iommu = { lastIova, reserved: [...reserved], capability, extendedCapability };
  return {
    text: machineText({ iommufd, iommu, devices, mdevs }),
    writeSysfs: (folder) => {
      writeSysfs(folder, sysfs, machine.cpu ?? defaultCpu, iommufd, iommu);
      for (const [i, { cdev, type }] of mdevs.entries()) {
        const group = 2 * machine.ports.length + functionsOf(machine).length + i;
        writeMdev(folder, { uuid: mdevUuid(i), type, cdev, group });
      }
    },
  };
}

function make(machine: Machine): KernelHandle {
  const prepared = prepare(machine);
  const parent = parentFolder();
  const handle = kernelCall({ path: parent }, () => native.fakeKernel(prepared.text, parent));
  try {
    prepared.writeSysfs(native.fakeSysfs(handle));
  } catch (error) {
    native.fakeShutdown(handle); // with the files written so far
    throw error;
  }
  return handle;
}

function makeRecorded(host: RecordedHost, { iommu }: Machine): KernelHandle {
  const { devices, reserved, write } = realiseRecorded(host);
  const { lastIova, capability = 0n, extendedCapability = 0n } = iommu;
  const parent = parentFolder();
  const text = machineText({
    iommufd: true,
    iommu: { lastIova, reserved, capability, extendedCapability },
    devices,
    mdevs: [],
  });
  const handle = kernelCall({ path: parent }, () => native.fakeKernel(text, parent));
  try {
    write(native.fakeSysfs(handle));
  } catch (error) {
    native.fakeShutdown(handle); // with the files written so far
    throw error;
  }
  return handle;
}

function realise(machine: Machine): { devices: NativeDevice[]; sysfs: SysfsDevice[] } {
  const devices: NativeDevice[] = [];
  const sysfs: SysfsDevice[] = [];
  const next = { memory: windowStart, io: portBase };
  const reserved = reservedRegions(machine);
  const groups = 2 * machine.ports.length + functionsOf(machine).length + (machine.mdevs?.length ?? 0);
  sysfs.push(...bridges(machine, reserved, groups));
  for (const [i, place] of functionsOf(machine).entries()) {
    const { address, physical, virtualFunctions } = place;
    const own: DeviceKind = deviceKinds[place.kind];
    const kind = physical === undefined ? own : (own.virtualFunction ?? own);
    const addresses = [...layOut(kind, next)];
    const { bytes, writable } = configSpace(kind, addresses, { several: place.several, virtualFunctions });
    const cdev = `vfio${String(i)}`;
    // Without ACS, the IOMMU cannot isolate the functions of a device. It can isolate virtual functions.
    const group = physical === undefined ? 2 * place.port + 1 : 2 * machine.ports.length + i;
    devices.push({
      address,
      cdev,
      syspath: `/devices/pci0000:00/${bridgeAddress(place.port)}/${address}`,
      model: place.kind,
      config: bytes,
      configWritable: writable,
      bars: kind.bars,
      romSize: kind.romSize ?? 0n,
      irqs: kind.irqs,
      msix: kind.msix,
      group,
      virtualFunctions,
      physical: physical ?? '',
      capabilities: kind.infoCapabilities ?? [],
      regionCapabilities: Array.from({ length: 6 }, (_, bar) => kind.bars[bar]?.infoCapabilities ?? []),
    });
    sysfs.push({
      vendor: kind.vendor,
      device: kind.device,
      classCode: kind.classCode,
      revision: kind.revision,
      config: bytes,
      resource: resourceFile(kind.bars, addresses),
      address,
      parent: bridgeAddress(place.port),
      physical,
      virtualFunctions,
      group,
      reserved,
      driver: 'vfio-pci',
      link: kind.express ? endpointLink : undefined,
      cdev,
      hasFile: machine.iommufd ?? true,
    });
  }
  return { devices, sysfs };
}

/**
 * A simulated kernel that needs no hardware. It implements the calls of VFIO, IOMMUFD and dma-buf like Linux, with the
 * same errors, for simulated devices. Their DMA goes through the IOAS and transfers real data.
 *
 * Each fake kernel is a separate machine. Several threads of a process can share one: pass `kernel.token` with
 * `new Worker(file, { workerData: kernel.token })` and call `FakeKernel.attach(workerData)` in the worker.
 */
export class FakeKernel extends Kernel {
  static {
    shown(this, 'name', 'sysfs');
  }

  readonly machine: Machine;

  readonly #attached: boolean;

  constructor(machine?: Machine);
  /** @internal */
  constructor(machine: Machine, existing: KernelHandle, isAttached: boolean);
  constructor(machine: Machine = reference, existing?: KernelHandle, isAttached = false) {
    const handle = existing ?? make(machine);
    super(key, machine.name, native.fakeSysfs(handle), handle);
    this.machine = machine;
    this.#attached = isAttached;
  }

  /**
   * Attaches to a fake kernel of another thread of this process.
   *
   * @throws Error ERR_NO_SUCH_KERNEL: no thread has the kernel and none of its files is open, or it belongs to another
   *   process.
   */
  static attach(token: FakeKernelToken): FakeKernel {
    const { machine, sysfs } = fields(token, 'token');
    fields(machine, 'token.machine');
    const handle = native.fakeAttach(string(sysfs, 'token.sysfs'));
    if (!handle)
      throw codedError('ERR_NO_SUCH_KERNEL', 'the fake kernel of this token is gone, or another process has it');
    return new FakeKernel(machine, handle, true);
  }

  /**
   * Creates a fake kernel of a recorded host (`vfio-dmabuf record`, `recordHost()`). Every function that has an IOMMU
   * group, except bridges, is bound to vfio-pci, with its config space and BARs. Memory BARs are memory; no registers
   * are simulated, and no device does DMA. The machine has no roles: devices have the addresses of the host.
   *
   * @throws Error ERR_NOT_A_RECORD
   */
  static ofHost(host: RecordedHost): FakeKernel {
    const machine: Machine = { ...reference, name: 'recorded', ports: [], mdevs: [] };
    return new FakeKernel(machine, makeRecorded(checkRecorded(host), machine), false);
  }

  /** The token for other threads of this process. Keep this object until they have attached. */
  get token(): FakeKernelToken {
    return data({ machine: this.machine, sysfs: this.sysfs });
  }

  /** Returns the PCI address of the device with this role in the machine, or the UUID of a mediated device. */
  addressOf(role: string): string {
    return addressOf(this.machine, role);
  }

  /** Returns the DMA faults since the last call, oldest first. At most 1024 are kept. */
  takeFaults(): DmaFault[] {
    return native.fakeTakeFaults(this.handle).map(data);
  }

  /** The number of open files of this kernel (iommufds, devices, dma-bufs), for leak checks. */
  get openFiles(): number {
    return native.fakeOpenFiles(this.handle);
  }

  /** The number of memory mappings of this kernel's files in this process, for leak checks. */
  get openMappings(): number {
    return native.fakeOpenMappings(this.handle);
  }

  /**
   * Makes the n-th system call from now on this kernel fail, in any thread (1: the next call). Closing and unmapping
   * are not counted. A later call replaces this setting; 0 clears it.
   *
   * @param code the name of an errno, for example 'EMFILE'
   */
  failCall(n: number, code: string): void {
    const errno = (constants.errno as Partial<Record<string, number>>)[string(code, 'code')];
    if (errno === undefined) throw outOfRange('code', 'the name of an errno', code);
    native.fakeFailCall(this.handle, integer(n, 'n', 0, 0xffff_ffff), errno);
  }

  /** The call that failed due to {@link failCall} ('open', 'ioctl 0x3b71', …); undefined: none yet. */
  get failedCall(): string | undefined {
    const call = native.fakeFailedCall(this.handle);
    return call && (call.request === 0 ? call.name : `${call.name} 0x${call.request.toString(16)}`);
  }

  /**
   * Replaces a device node: opening `path` then opens `target`, as after `mount --bind TARGET PATH`. Tests use it to
   * simulate an outdated /dev. To undo it, pass `path` for both.
   *
   * @param path '/dev/vfio/devices/vfio0', '/dev/vfio/12', '/dev/iommu', …
   */
  replaceNode(path: string, target: string): void {
    native.fakeReplaceNode(this.handle, string(path, 'path'), string(target, 'target'));
  }

  /**
   * Removes the sysfs tree for all threads, and the devices as soon as no file of this kernel is open. Open objects stay
   * usable. Does nothing on a kernel from {@link FakeKernel.attach}.
   */
  close(): void {
    if (!this.#attached) native.fakeShutdown(this.handle);
  }

  /** Calls close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
