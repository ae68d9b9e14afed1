// Reads the properties of one PCI function from sysfs.
import { data, shownObject } from '../addon/shown';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, linked, list, text } from '../kernel/look';
import { pciCapabilities, type ExpressPort, type PciCapability } from './capabilities';
import { configGap, silence, type ConfigSpace, type PciGap } from './gap';
import { toLink, type PciLink } from './link';

/** The window of a base address register. */
export interface PciBar {
  /** The BAR's number, 0 to 5. */
  index: number;
  kind: 'memory' | 'io';
  /** The start address in the CPU's physical address space. */
  start: bigint;
  /** The size in bytes. */
  size: bigint;
  prefetchable: boolean;
  /** Whether it is a 64-bit BAR. */
  wide: boolean;
  /** The sizes in bytes that Resizable BAR supports; empty if the size is fixed. */
  sizes: bigint[];
}

/** Access Control Services of a function. `unreadable`: not seen; {@link PciFunction.gaps} has the reason. */
export type PciAcs =
  | { state: 'absent' | 'unreadable' }
  | {
      state: 'present';
      /**
       * Whether the function redirects peer-to-peer requests, completions or the targets of its egress control vector
       * to the host.
       */
      redirects: boolean;
      capability: Extract<PciCapability, { type: 'acs' }>;
    };

/** The SR-IOV state of a physical function. */
export interface PciSriov {
  totalVfs: number;
  numVfs: number;
}

/** A PCI function of a host, with its properties in sysfs at the time of reading. */
export interface PciFunction {
  /** The address, for example '0000:03:00.0'. */
  readonly address: string;
  /** The name of its host bridge, for example 'pci0000:00'. */
  readonly hostBridge: string;
  /** The parent bridge; undefined: it is on a root bus. */
  readonly parent: PciFunction | undefined;
  /** The functions behind a bridge, in the order of addresses. */
  readonly children: readonly PciFunction[];
  readonly vendor: number;
  readonly device: number;
  /** Class, subclass and programming interface, for example 0x010802 for NVMe. */
  readonly classCode: number;
  readonly revision: number;
  readonly driver: string | undefined;
  /** undefined: the firmware does not report it. */
  readonly numaNode: number | undefined;
  /** undefined: it is not behind an active IOMMU. */
  readonly iommuGroup: number | undefined;
  /** The name of its VFIO character device, for example 'vfio0'. */
  readonly cdev: string | undefined;
  readonly bars: readonly PciBar[];
  /**
   * undefined: there is no PCI Express link, or the link is down. A virtual function has the link of its physical
   * function.
   */
  readonly link: PciLink | undefined;
  /** The PCI Express device/port type; undefined: a conventional function, or its config space is not readable. */
  readonly port: ExpressPort | undefined;
  readonly acs: PciAcs;
  readonly sriov: PciSriov | undefined;
  /** The address of the physical function, if this is a virtual function. */
  readonly physicalFunction: string | undefined;
  /** The decoded capabilities. Users other than root see none. */
  readonly capabilities: readonly PciCapability[];
  /** The type of the header: 0 for a device, 1 for a PCI bridge, 2 for a CardBus bridge; undefined: not seen. */
  readonly headerType: number | undefined;
  /** Whether the device has several functions; undefined: not seen. */
  readonly multifunction: boolean | undefined;
  /** The device's serial number, for example 'e8-eb-d3-03-00-9c-7a-40', as lspci shows it; undefined: none was seen. */
  readonly serialNumber: string | undefined;
  /** The name of the slot that it is plugged into; undefined: neither the firmware nor the port above reports one. */
  readonly slot: string | undefined;
  /** What could not be seen of it; empty: everything was seen. */
  readonly gaps: readonly PciGap[];
}

/** A function without its place in the tree, and without what others tell of it. @internal */
export type LoneFunction = Omit<PciFunction, 'hostBridge' | 'parent' | 'children' | 'slot'>;

const shownAsIs = [
  ...(['vendor', 'device', 'classCode', 'revision', 'driver', 'numaNode', 'iommuGroup', 'cdev', 'bars'] as const),
  ...(['link', 'port', 'acs', 'sriov', 'physicalFunction', 'serialNumber', 'slot', 'gaps'] as const),
];

// The flags in sysfs's `resource` file (include/linux/ioport.h).
const resourceFlags = { io: 0x100n, memory: 0x200n, prefetch: 0x2000n, wide: 0x100000n };
const barCount = 6;

function toBars(resource: string, capabilities: readonly PciCapability[]): PciBar[] {
  const resizable = new Map(
    capabilities.flatMap((found) =>
      found.type === 'resizable-bar' ? found.bars.map((bar) => [bar.bar, bar.sizes]) : [],
    ) as [number, bigint[]][],
  );
  return resource
    .split('\n')
    .slice(0, barCount)
    .flatMap((line, index): PciBar[] => {
      const [start = 0n, last = 0n, flags = 0n] = line.split(' ').map((word) => attempt(() => BigInt(word)) ?? 0n);
      const memory = (flags & resourceFlags.memory) !== 0n;
      if (!memory && (flags & resourceFlags.io) === 0n) return [];
      return [
        data({
          index,
          kind: memory ? 'memory' : 'io',
          start,
          size: last - start + 1n,
          prefetchable: (flags & resourceFlags.prefetch) !== 0n,
          wide: (flags & resourceFlags.wide) !== 0n,
          sizes: resizable.get(index) ?? [],
        }),
      ];
    });
}

function toAcs(capabilities: readonly PciCapability[], gaps: readonly PciGap[]): PciAcs {
  if (gaps.length > 0) return { state: 'unreadable' };
  const capability = capabilities.find((found) => found.type === 'acs');
  if (!capability) return { state: 'absent' };
  const { requestRedirect, completionRedirect, egressControl } = capability;
  return {
    state: 'present',
    redirects: requestRedirect.enabled || completionRedirect.enabled || egressControl.enabled,
    capability,
  };
}

function number(folder: string, file: string): number | undefined {
  const content = text(join(folder, file)).trim();
  return content === '' ? undefined : Number(content);
}

/** Makes toJSON() and inspect() show the functions around it by their addresses. Returns the function. @internal */
export function shownFunction<T extends PciFunction>(found: T): T {
  return shownObject<PciFunction>(
    found,
    'PciFunction',
    'address',
    'hostBridge',
    ['parent', ({ parent }) => parent?.address],
    ['children', ({ children }) => children.map(({ address }) => address)],
    ...shownAsIs,
  ) as T;
}

function readConfig(folder: string, live: boolean): ConfigSpace {
  const file = join(folder, 'config');
  const bytes = attempt(() => new Uint8Array(readFileSync(file))) ?? new Uint8Array();
  return { bytes, size: attempt(() => statSync(file).size) ?? bytes.length, live };
}

/** The vendor and device ID in config space; undefined where they are not seen. Those of virtual functions are ones. */
function idsIn({ bytes }: ConfigSpace): { vendor?: number; device?: number; classCode?: number } {
  if (bytes.length < 0x40) return {};
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const vendor = view.getUint16(0, true);
  if (vendor === 0 || vendor === 0xffff) return {};
  return { vendor, device: view.getUint16(2, true), classCode: view.getUint32(8, true) >>> 8 };
}

/** As lspci shows it: the most significant byte first. */
function serialNumber(capabilities: readonly PciCapability[]): string | undefined {
  const found = capabilities.find(({ name }) => name === 'serial-number');
  if (!found || found.bytes.length < 12) return undefined;
  const bytes = [...found.bytes.subarray(4, 12)].reverse();
  return bytes.some((byte) => byte !== 0)
    ? bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('-')
    : undefined;
}

/** As Linux has it: function 0 has a bit for it, the others are of such a device, and virtual functions are not. */
function isMultifunction(address: string, header: number | undefined, physical: string | undefined) {
  if (physical !== undefined) return false;
  if (!address.endsWith('.0')) return true;
  return header === undefined ? undefined : (header & 0x80) !== 0;
}

/** A function of which only the address is known. @internal */
export function unseenFunction(address: string, reason: string): LoneFunction {
  return {
    address,
    ...{ vendor: 0, device: 0, classCode: 0, revision: 0, driver: undefined, numaNode: undefined },
    ...{ iommuGroup: undefined, cdev: undefined, bars: [], link: undefined, port: undefined },
    acs: { state: 'unreadable' },
    ...{ sriov: undefined, physicalFunction: undefined, capabilities: [], headerType: undefined },
    ...{ multifunction: undefined, serialNumber: undefined },
    gaps: [{ what: 'function', text: reason, root: false }],
  };
}

/**
 * Reads a function's folder in sysfs.
 *
 * @param live whether this is sysfs itself, and not a copy
 * @returns undefined: the folder has nothing that identifies the function
 * @internal
 */
export function readFunction(folder: string, address: string, live: boolean): LoneFunction | undefined {
  const read = (file: string) => text(join(folder, file)).trim();
  const config = readConfig(folder, live);
  const ids = idsIn(config);
  const vendor = number(folder, 'vendor') ?? ids.vendor;
  if (vendor === undefined) return undefined;
  const silent = silence(config, read('power_state'));
  const capabilities = silent ? [] : pciCapabilities(config.bytes);
  const gap = silent ?? configGap(config, capabilities);
  const gaps = gap ? [gap] : [];
  const express = capabilities.find((found) => found.type === 'express');
  const header = silent ? undefined : config.bytes[0x0e];
  const virtual = linked(join(folder, 'physfn'));
  const group = linked(join(folder, 'iommu_group'));
  const node = number(folder, 'numa_node') ?? -1;
  const totalVfs = number(folder, 'sriov_totalvfs');
  return {
    address,
    vendor,
    device: number(folder, 'device') ?? ids.device ?? 0,
    classCode: number(folder, 'class') ?? ids.classCode ?? 0,
    revision: number(folder, 'revision') ?? 0,
    driver: linked(join(folder, 'driver')),
    numaNode: node < 0 ? undefined : node,
    iommuGroup: group === undefined ? undefined : Number(group),
    cdev: list(join(folder, 'vfio-dev')).find((name) => /^vfio\d+$/.test(name)),
    bars: toBars(read('resource'), capabilities),
    link: toLink(
      read('current_link_speed'),
      read('current_link_width'),
      read('max_link_speed'),
      read('max_link_width'),
    ),
    port: express?.port,
    acs: toAcs(capabilities, gaps),
    sriov: totalVfs === undefined ? undefined : { totalVfs, numVfs: number(folder, 'sriov_numvfs') ?? 0 },
    physicalFunction: virtual,
    capabilities,
    headerType: header === undefined ? undefined : header & 0x7f,
    multifunction: isMultifunction(address, header, virtual),
    serialNumber: serialNumber(capabilities),
    gaps,
  };
}
