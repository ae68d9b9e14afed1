// Determines from sysfs whether devices can share an I/O address space of IOMMUFD. IOMMUFD requires that no other
// driver uses their IOMMU groups, and that the IOVAs are not reserved by any of the devices. It does not check P2P
// paths.
import { join } from 'node:path';
import { shownObject } from '../addon/shown';
import { vfioDriverFor } from './vfio-driver';
import { firmwareRegion, reservedRegions, takesGroup } from './iommu-group';
import { u64Max } from '../errors/validate';
import type { PciFunction } from './function';

/** IOVAs from `start` to `last`, both inclusive. */
export interface IovaWindow {
  start: bigint;
  last: bigint;
}

/** A device that prevents sharing: one to be attached, or another device of its IOMMU group. */
export interface IoasObjection {
  device: PciFunction;
  text: string;
}

/** The result: whether the devices can be attached to one Ioas. */
export interface SharedIoas {
  /** Whether there are no objections and a window has the requested length. */
  possible: boolean;
  objections: IoasObjection[];
  /**
   * The IOVAs that no device of the groups reserves, ascending. sysfs does not contain the highest IOVA that the IOMMUs
   * translate: `Ioas.iovaRanges()` of an Ioas with attached devices does.
   */
  windows: IovaWindow[];
}

/** IOMMUFD allows that `direct-relaxable` regions are mapped (Documentation/ABI/testing/sysfs-kernel-iommu_groups). */
function reserved(sysfs: string, group: number): IovaWindow[] {
  return reservedRegions(join(sysfs, 'kernel/iommu_groups', String(group)))
    .filter(({ type }) => type !== 'direct-relaxable')
    .map(({ start, last }) => ({ start, last }));
}

/** Returns the IOVA ranges between the holes. */
function windowsBetween(holes: readonly IovaWindow[]): IovaWindow[] {
  const windows: IovaWindow[] = [];
  let start = 0n;
  for (const hole of [...holes].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    if (hole.start > start) windows.push({ start, last: hole.start - 1n });
    if (hole.last >= start) start = hole.last + 1n;
  }
  return start > u64Max ? windows : [...windows, { start, last: u64Max }];
}

/** Returns why VFIO cannot use the device; undefined if it can. */
function unfit(sysfs: string, device: PciFunction): string | undefined {
  const { address, iommuGroup, driver, cdev, gaps } = device;
  const unseen = gaps.find(({ what }) => what === 'function' || what === 'place');
  if (unseen && iommuGroup === undefined) return `it is not known whether VFIO can use ${address}: ${unseen.text}`;
  if (iommuGroup === undefined) return `${address} is behind no IOMMU that is on`;
  if (cdev === undefined)
    return `${address} is bound to ${driver ?? 'no driver'}, not to ${vfioDriverFor(sysfs, address).driver}`;
  const refused = firmwareRegion(sysfs, address);
  return refused === undefined ? undefined : `${address}: ${refused}`;
}

/** @internal */
export function shareIoas(
  sysfs: string,
  devices: readonly PciFunction[],
  all: readonly PciFunction[],
  length: bigint,
): SharedIoas {
  const groups = new Set(devices.flatMap(({ iommuGroup }) => iommuGroup ?? []));
  const inTheWay = all.filter(
    ({ iommuGroup, cdev, driver }) =>
      iommuGroup !== undefined && groups.has(iommuGroup) && cdev === undefined && takesGroup(driver),
  );
  const found = [...new Set([...devices, ...inTheWay])].flatMap((device): IoasObjection[] => {
    const group = String(device.iommuGroup);
    const why = devices.includes(device)
      ? unfit(sysfs, device)
      : `IOMMU group ${group} is not viable: driver ${device.driver ?? ''} has ${device.address} of it`;
    return why === undefined ? [] : [{ device, text: why }];
  });
  const windows = windowsBetween([...groups].flatMap((group) => reserved(sysfs, group)));
  const fits = windows.some(({ start, last }) => last - start + 1n >= length);
  return shownObject<SharedIoas>(
    { possible: found.length === 0 && fits, objections: found, windows },
    'SharedIoas',
    'possible',
    ['objections', ({ objections }) => objections.map(({ device, text }) => ({ device: device.address, text }))],
    'windows',
  );
}
