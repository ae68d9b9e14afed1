// What sysfs tells about one PCI function.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, linked, list, text } from '../kernel/look';
import { pciCapabilities, type ExpressPort, type PciCapability } from './capabilities';
import { toLink, type PciLink } from './link';

/** A base address register's window. */
export interface PciBar {
  /** BAR 0 to 5. */
  index: number;
  kind: 'memory' | 'io';
  /** As the CPU sees it. */
  start: bigint;
  /** In bytes. */
  size: bigint;
  prefetchable: boolean;
  /** 64-bit. */
  wide: boolean;
  /** The sizes that it could have, in bytes (Resizable BAR); empty: this one only. */
  sizes: bigint[];
}

/**
 * Access Control Services of a function. `unreadable`: the function may have them; its extended config space is there,
 * and only root may read it.
 */
export type PciAcs =
  | { state: 'absent' | 'unreadable' }
  | {
      state: 'present';
      /** Whether it sends peer-to-peer requests, completions, or what its egress vector names, up to the host. */
      redirects: boolean;
      capability: Extract<PciCapability, { type: 'acs' }>;
    };

/** SR-IOV of a physical function. */
export interface PciSriov {
  totalVfs: number;
  numVfs: number;
}

/** A PCI function of a host, as sysfs tells of it at the time of reading. */
export interface PciFunction {
  /** '0000:03:00.0' */
  readonly address: string;
  /** The host bridge that it is below: 'pci0000:00'. */
  readonly hostBridge: string;
  /** The bridge that it is behind; undefined: it is on a root bus. */
  readonly parent: PciFunction | undefined;
  /** Of a bridge: what is behind it, in the order of addresses. */
  readonly children: readonly PciFunction[];
  readonly vendor: number;
  readonly device: number;
  /** Class, subclass and programming interface: 0x010802 is NVMe. */
  readonly classCode: number;
  readonly revision: number;
  readonly driver: string | undefined;
  /** undefined: the firmware does not say. */
  readonly numaNode: number | undefined;
  /** undefined: no IOMMU is in use for it. */
  readonly iommuGroup: number | undefined;
  /** Its VFIO character device: 'vfio0'. */
  readonly cdev: string | undefined;
  readonly bars: readonly PciBar[];
  /** undefined: no PCI Express link, or none that is up. */
  readonly link: PciLink | undefined;
  /** What kind of PCI Express function it is; undefined: a conventional one, or its config space cannot be read. */
  readonly port: ExpressPort | undefined;
  readonly acs: PciAcs;
  readonly sriov: PciSriov | undefined;
  /** Of a virtual function: its physical one's address. */
  readonly physicalFunction: string | undefined;
}

/** A function before it has its place in the tree. @internal */
export type LoneFunction = Omit<PciFunction, 'hostBridge' | 'parent' | 'children'>;

// include/linux/ioport.h: the flags in sysfs's `resource`
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
        {
          index,
          kind: memory ? 'memory' : 'io',
          start,
          size: last - start + 1n,
          prefetchable: (flags & resourceFlags.prefetch) !== 0n,
          wide: (flags & resourceFlags.wide) !== 0n,
          sizes: resizable.get(index) ?? [],
        },
      ];
    });
}

/** Of a conventional function's config space, in bytes. Users other than root are shown the first 64 of any. */
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
