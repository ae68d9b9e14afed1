// Reads the properties of one PCI function from sysfs.
import { data, shownObject } from '../addon/shown';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, linked, list, text } from '../kernel/look';
import { pciCapabilities, type ExpressPort, type PciCapability } from './capabilities';
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

/**
 * Access Control Services of a function. `unreadable`: the function has extended config space, which may contain them,
 * but only root can read it.
 */
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
  /** undefined: there is no PCI Express link, or the link is down. */
  readonly link: PciLink | undefined;
  /** The PCI Express device/port type; undefined: a conventional function, or its config space is not readable. */
  readonly port: ExpressPort | undefined;
  readonly acs: PciAcs;
  readonly sriov: PciSriov | undefined;
  /** The address of the physical function, if this is a virtual function. */
  readonly physicalFunction: string | undefined;
}

/** A function without its place in the tree. @internal */
export type LoneFunction = Omit<PciFunction, 'hostBridge' | 'parent' | 'children'>;

const shownAsIs = [
  ...(['vendor', 'device', 'classCode', 'revision', 'driver', 'numaNode', 'iommuGroup', 'cdev', 'bars'] as const),
  ...(['link', 'port', 'acs', 'sriov', 'physicalFunction'] as const),
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

/**
 * The size of a conventional function's config space, in bytes. Users other than root can read only the first 64 bytes.
 */
const conventionalSize = 0x100;

function toAcs(config: Uint8Array, size: number, capabilities: readonly PciCapability[]): PciAcs {
  if (config.length < conventionalSize && size !== conventionalSize) return { state: 'unreadable' };
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

/** Reads a function's folder in sysfs. @internal */
export function readFunction(folder: string, address: string): LoneFunction {
  const read = (file: string) => text(join(folder, file)).trim();
  const configFile = join(folder, 'config');
  const config = attempt(() => new Uint8Array(readFileSync(configFile))) ?? new Uint8Array();
  const size = attempt(() => statSync(configFile).size) ?? config.length;
  const capabilities = pciCapabilities(config);
  const express = capabilities.find((found) => found.type === 'express');
  const group = linked(join(folder, 'iommu_group'));
  const node = number(folder, 'numa_node') ?? -1;
  const totalVfs = number(folder, 'sriov_totalvfs');
  return {
    address,
    vendor: number(folder, 'vendor') ?? 0,
    device: number(folder, 'device') ?? 0,
    classCode: number(folder, 'class') ?? 0,
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
    acs: toAcs(config, size, capabilities),
    sriov: totalVfs === undefined ? undefined : { totalVfs, numVfs: number(folder, 'sriov_numvfs') ?? 0 },
    physicalFunction: linked(join(folder, 'physfn')),
  };
}
