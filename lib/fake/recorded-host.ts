// Makes a fake machine of a recorded host: its sysfs, with every function that has an IOMMU group bound to vfio-pci. The
// functions have their config space and BARs. A memory BAR is memory; no registers are simulated, and there is no DMA.
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { NativeDevice } from '../addon/native';
import { writeRecorded, type RecordedHost } from '../kernel/recorded';
import type { Irq } from './devices';
import { link, writeCdev, writeGroupFile, writeHostFiles } from './sysfs';

/** A model without registers. */
const model = 'pci-testdev';
const bridge = 0x06; // the base class
const lastHostBridge = 0x03; // the subclasses of the host's own bridges: host, ISA, EISA, MCA
// include/linux/ioport.h
const flag = { io: 0x100n, memory: 0x200n, prefetch: 0x2000n, wide: 0x10_0000n, unset: 0x2000_0000n };
const devices = '/sys/bus/pci/devices/';
const reservedFile = /^\/sys\/kernel\/iommu_groups\/(\d+)\/reserved_regions$/;

// PCI capability IDs, and offsets in the header.
const id = { power: 0x01, msi: 0x05, express: 0x10, msix: 0x11 };
const offsets = { command: 0x04, status: 0x06, cacheLine: 0x0c, bar0: 0x10, capabilities: 0x34, interruptLine: 0x3c };
const commandAtOpen = 0x0103;
const commandWritable = 0x0507;
const interruptPin = 0x3d;

interface Function {
  address: string;
  folder: string;
  group: number;
  bytes: Buffer;
  resource: bigint[][];
}

const lastPart = (path: string): string => path.split('/').at(-1) ?? '';

/** Returns the offsets of the capabilities in config space, by their ID. */
function capabilitiesOf(bytes: Buffer): Map<number, number> {
  const found = new Map<number, number>();
  if ((bytes.readUInt16LE(offsets.status) & 0x10) === 0) return found;
  const seen = new Set<number>();
  for (
    let at = bytes.readUInt8(offsets.capabilities) & ~3;
    at >= 0x40 && !seen.has(at);
    at = bytes.readUInt8(at + 1) & ~3
  ) {
    seen.add(at);
    found.set(bytes.readUInt8(at), at);
  }
  return found;
}

function functionsOf(host: RecordedHost): Function[] {
  return Object.entries(host.links)
    .filter(([path]) => path.startsWith(devices))
    .flatMap(([path, folder]): Function[] => {
      const group = Number(lastPart(host.links[`${folder}/iommu_group`] ?? ''));
      const config = host.config[`${folder}/config`];
      if (!config || host.links[`${folder}/iommu_group`] === undefined || !Number.isInteger(group)) return [];
      // Without root, 64 bytes are recorded.
      const bytes = Buffer.alloc(config.size > 256 ? 4096 : 256);
      bytes.write(config.bytes, 0, 'hex');
      // VFIO takes functions with a header of type 0, but not those of the host itself.
      const [kind, base] = [bytes.readUInt8(0x0a), bytes.readUInt8(0x0b)];
      if ((bytes.readUInt8(0x0e) & 0x7f) !== 0 || (base === bridge && kind <= lastHostBridge)) return [];
      const lines = (host.files[`${folder}/resource`] ?? '').split('\n').slice(0, 6);
      const resource = lines.map((line) =>
        line.split(' ').map((word) => BigInt(/^0x[0-9a-f]+$/.test(word) ? word : 0)),
      );
      return [{ address: lastPart(path), folder, group, bytes, resource }];
    });
}

function toBars({ resource }: Function): NativeDevice['bars'] {
  return Array.from({ length: 6 }, (_, i) => {
    const [start = 0n, last = 0n, flags = 0n] = resource[i] ?? [];
    if (last === 0n || (flags & flag.unset) !== 0n) return undefined;
    return { kind: (flags & flag.memory) === 0n ? 'io' : 'memory', size: last - start + 1n };
  });
}

/** Sets the registers of the BARs, as vfio-pci shows them, and the bits that can be written. */
function writeBars(found: Function, writable: Buffer): void {
  for (const [i, bar] of toBars(found).entries()) {
    if (!bar) continue;
    const [start = 0n, , flags = 0n] = found.resource[i] ?? [];
    const at = offsets.bar0 + 4 * i;
    const wide = (flags & flag.wide) !== 0n;
    const kind = bar.kind === 'io' ? 1n : (wide ? 4n : 0n) | ((flags & flag.prefetch) === 0n ? 0n : 8n);
    const words = [start | kind, BigInt.asUintN(64, -bar.size)] as const;
    for (const [n, buffer] of [found.bytes, writable].entries()) {
      const word = words[n] ?? 0n;
      buffer.writeUInt32LE(Number(word & 0xffff_ffffn), at);
      if (wide && i < 5) buffer.writeUInt32LE(Number(word >> 32n), at + 4);
    }
  }
}

const none: Irq = { flags: 9, count: 0 };
const one: Irq = { flags: 9, count: 1 };

function toNative(found: Function, cdev: string, firmwareRegion: boolean): NativeDevice {
  const { address, folder, group, bytes } = found;
  const capabilities = capabilitiesOf(bytes);
  const writable = Buffer.alloc(bytes.length);
  bytes.writeUInt16LE(commandAtOpen, offsets.command);
  writable.writeUInt16LE(commandWritable, offsets.command);
  writable.fill(0xff, offsets.cacheLine, offsets.cacheLine + 1);
  writable.fill(0xff, offsets.interruptLine, offsets.interruptLine + 1);
  writeBars(found, writable);
  const power = capabilities.get(id.power);
  if (power !== undefined) writable.writeUInt8(0x03, power + 4);
  const msi = capabilities.get(id.msi);
  if (msi !== undefined) writable.fill(0xff, msi + 4, msi + 14);
  const msix = capabilities.get(id.msix);
  const vectors = msix === undefined ? 0 : (bytes.readUInt16LE(msix + 2) & 0x7ff) + 1;
  const table = msix === undefined ? 0 : bytes.readUInt32LE(msix + 4);
  const hasTable = msix !== undefined && toBars(found)[table & 7] !== undefined;
  return {
    ...{ address, cdev, group, firmwareRegion, model },
    syspath: folder.replace(/^\/sys/, ''),
    ...{ config: bytes, configWritable: writable, bars: toBars(found), romSize: 0n },
    irqs: [
      { flags: 7, count: bytes.readUInt8(interruptPin) === 0 ? 0 : 1 },
      msi === undefined ? none : { flags: 9, count: 1 << ((bytes.readUInt8(msi + 2) >> 1) & 7) },
      hasTable ? { flags: 1, count: vectors } : none,
      capabilities.has(id.express) ? one : none,
      one,
    ],
    msix: hasTable ? { bar: table & 7, offset: BigInt(table & ~7), size: BigInt(vectors * 16) } : undefined,
    ...{ virtualFunctions: 0, physical: '', capabilities: [], regionCapabilities: Array.from({ length: 6 }, () => []) },
  };
}

interface Reserved {
  group: number;
  start: bigint;
  last: bigint;
  type: string;
}

function reservedIn(host: RecordedHost): Reserved[] {
  return Object.entries(host.files).flatMap(([path, content]) => {
    const group = reservedFile.exec(path)?.[1];
    return [...content.matchAll(/^(0x[0-9a-f]+) (0x[0-9a-f]+) (\S+)/gim)].flatMap(
      ([, start = '0', last = '0', type = '']) =>
        group === undefined ? [] : [{ group: Number(group), start: BigInt(start), last: BigInt(last), type }],
    );
  });
}

/**
 * The IOVAs that no device can map: the fake has one IOMMU for all groups. Groups with `direct` regions are refused, and
 * `direct-relaxable` regions are no obstacle.
 */
function holesOf(reserved: readonly Reserved[]): { start: bigint; last: bigint }[] {
  const holes = reserved.filter(({ type }) => !type.startsWith('direct'));
  const distinct = new Map(holes.map(({ start, last }) => [`${String(start)} ${String(last)}`, { start, last }]));
  return [...distinct.values()].sort((a, b) => (a.start < b.start ? -1 : 1));
}

/** Whether the fake has such an entry of its own: VFIO's files, and those that every fake machine has. */
const isReplaced = (path: string): boolean =>
  /\/vfio-dev(?:\/|$)|^\/sys\/(?:class|devices\/virtual)\/(?:vfio|misc|dma_heap)\/|^\/sys\/module\/udmabuf/.test(path);

/** A recorded host in the form that native code and sysfs need. */
export interface RecordedMachine {
  devices: NativeDevice[];
  reserved: { start: bigint; last: bigint }[];
  /** Writes the host's files to the fake's sysfs. */
  write: (sysfs: string) => void;
}

/** Converts a recorded host. */
export function realiseRecorded(host: RecordedHost): RecordedMachine {
  const found = functionsOf(host);
  const reserved = reservedIn(host);
  const refused = new Set(reserved.filter(({ type }) => type === 'direct').map(({ group }) => group));
  const native = found.map((one, i) => toNative(one, `vfio${String(i)}`, refused.has(one.group)));
  const write = (sysfs: string): void => {
    const kept = <T>(entries: Record<string, T>) =>
      Object.fromEntries(Object.entries(entries).filter(([path]) => !isReplaced(path)));
    const drivers = new Set(found.map(({ folder }) => `${folder}/driver`));
    const links = Object.fromEntries(Object.entries(kept(host.links)).filter(([path]) => !drivers.has(path)));
    const folders = host.folders.filter((path) => !isReplaced(path));
    writeRecorded(dirname(sysfs), { ...host, files: kept(host.files), links, folders });
    mkdirSync(join(sysfs, 'bus/pci/drivers/vfio-pci'), { recursive: true });
    for (const [i, { address, folder, group }] of found.entries()) {
      const place = join(dirname(sysfs), folder);
      const driver = join(sysfs, 'bus/pci/drivers/vfio-pci');
      link(driver, join(place, 'driver'));
      link(place, join(driver, address));
      writeCdev(sysfs, place, `vfio${String(i)}`);
      writeGroupFile(sysfs, group);
    }
    writeHostFiles(sysfs, true);
  };
  return { devices: native, reserved: holesOf(reserved), write };
}
