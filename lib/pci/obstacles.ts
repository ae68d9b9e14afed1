// Finds why VFIO cannot use a device, or cannot export a BAR of it, whatever driver it is bound to. Each text says what
// to do.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { attempt, linked, list, text } from '../kernel/look';
import { carriedBy, carrierOf, carrierText } from './carrier';
import { procOf } from './host-root';
import { silence } from './gap';
import { firmwareRegion } from './iommu-group';

const barCount = 6;
// include/linux/ioport.h
const unset = 0x2000_0000n; // IORESOURCE_UNSET
const memory = 0x200n; // IORESOURCE_MEM

interface Resource {
  index: number;
  start: bigint;
  last: bigint;
  flags: bigint;
}

/** Returns the BARs that the device has. */
function bars(sysfs: string, address: string): Resource[] {
  return text(join(sysfs, 'bus/pci/devices', address, 'resource'))
    .split('\n')
    .slice(0, barCount)
    .map((line, index) => {
      const [start = 0n, last = 0n, flags = 0n] = line.split(' ').map((word) => attempt(() => BigInt(word)) ?? 0n);
      return { index, start, last, flags };
    })
    .filter(({ flags }) => flags !== 0n);
}

const isUnassigned = ({ start, flags }: Resource): boolean =>
  (flags & unset) !== 0n || ((flags & memory) !== 0n && start === 0n);

const plural = (count: number) => (count === 1 ? ['', 'has'] : ['s', 'have']);

/** pci_enable_resources() refuses a device with such a BAR. */
export function unassignedBars(sysfs: string, address: string): string | undefined {
  const found = bars(sysfs, address).filter(isUnassigned);
  if (found.length === 0) return undefined;
  const [s = '', have = ''] = plural(found.length);
  return (
    `BAR${s} ${found.map(({ index }) => String(index)).join(', ')} of the device ${have} no bus address (too little room ` +
    'behind its bridge), so it cannot be enabled: switch on "Above 4G Decoding" in the firmware, make a resizable BAR ' +
    'smaller, or try pci=realloc on the kernel command line'
  );
}

/** The names that firmware framebuffers have in /proc/iomem, by driver and kernel version. */
const framebuffers =
  /^(?:BOOTFB|efifb|vesafb|simplefb|(?:simple|efi|vesa|ofw|vga)drm|(?:simple|efi|vesa)-framebuffer.*)$/i;

interface IomemLine {
  depth: number;
  start: bigint;
  last: bigint;
  name: string;
}

function iomem(sysfs: string): IomemLine[] {
  return [...text(join(procOf(sysfs), 'iomem')).matchAll(/^( *)([0-9a-f]+)-([0-9a-f]+) : (.*)$/gm)].map(
    ([, indent = '', start = '0', last = '0', name = '']) => ({
      ...{ depth: indent.length, name: name.trim() },
      ...{ start: BigInt(`0x${start}`), last: BigInt(`0x${last}`) },
    }),
  );
}

/** A part of a BAR that something other than the device's driver has reserved. */
export interface BarOwner {
  bar: number;
  name: string;
  start: bigint;
  last: bigint;
}

/**
 * Returns who has reserved parts of the device's BARs, other than the device's own driver and VFIO. Only root can read
 * the addresses in /proc/iomem; for other users the result is empty.
 */
export function barOwners(sysfs: string, address: string): BarOwner[] {
  const lines = iomem(sysfs);
  const driver = linked(join(sysfs, 'bus/pci/devices', address, 'driver')) ?? '';
  const isOwn = (name: string) => name === address || name === driver || /^vfio\b/.test(name);
  const isHeld = list(join(sysfs, 'bus/pci/devices', address, 'vfio-dev')).length > 0 || driver === '';
  return bars(sysfs, address)
    .filter((bar) => bar.start !== 0n && (bar.flags & memory) !== 0n)
    .flatMap((bar) => {
      const own = lines.find(({ start, last, name }) => name === address && start === bar.start && last === bar.last);
      return lines
        .filter(({ start, last, depth }) => start >= bar.start && last <= bar.last && depth > (own?.depth ?? -1))
        .filter(({ name }) => !isOwn(name) && !name.startsWith('PCI Bus'))
        .filter(({ name }) => isHeld || framebuffers.test(name)) // a driver's own regions go when it is unbound
        .map(({ name, start, last }) => ({ bar: bar.index, name, start, last }));
    });
}

/** Explains one owner of a part of a BAR, and how to free it. */
export function ownerText({ bar, name, start, last }: BarOwner, sysfs: string): string {
  const where = `BAR ${String(bar)}, 0x${start.toString(16)}-0x${last.toString(16)} in /proc/iomem, is reserved by ${name}`;
  if (!framebuffers.test(name)) return `${where}: unbind or unload that driver`;
  const drivers = join(sysfs, 'bus/platform/drivers');
  const platform = list(drivers)
    .filter((driver) => driver.endsWith('-framebuffer'))
    .flatMap((driver) => list(join(drivers, driver)).filter((entry) => entry.startsWith(`${driver}.`)))
    .map((entry) => basename(entry));
  const device = platform.length > 0 ? ` (platform device ${platform.join(', ')})` : '';
  return (
    `${where}, the firmware's framebuffer${device}, so VFIO cannot map or export the BAR: boot with ` +
    'initcall_blacklist=sysfb_init (before Linux 5.15: video=efifb:off), or make another display the primary one in the ' +
    "firmware's setup"
  );
}

/** The device does not answer: its config space is all ones. */
function dead(sysfs: string, address: string): string | undefined {
  const folder = join(sysfs, 'bus/pci/devices', address);
  const bytes = attempt(() => new Uint8Array(readFileSync(join(folder, 'config')))) ?? new Uint8Array();
  // After config space, which the kernel powers a device on for.
  const silent = silence(bytes, text(join(folder, 'power_state')).trim());
  if (!silent) return undefined;
  return (
    `the device does not answer (${silent.text}): it was removed, lost its link or has no power. Reset the slot, or as root: ` +
    `echo 1 > ${sysfs}/bus/pci/devices/${address}/remove; echo 1 > ${sysfs}/bus/pci/rescan`
  );
}

function carriedText(sysfs: string, address: string): string | undefined {
  const carried = carriedBy(sysfs, address);
  if (carried.length > 0) return carrierText(address, carried);
  const carrier = carrierOf(sysfs, address);
  return (
    carrier &&
    `the device is behind ${carrier} (Intel VMD), which makes its DMA: VFIO can take only that controller, with all that is ` +
      "behind it. Switch VMD off in the firmware's setup: then the device is one of its own"
  );
}

/** Returns why VFIO cannot use the device at all although a driver of VFIO takes it. Empty: nothing was found. */
export function unusable(sysfs: string, address: string): string[] {
  const found = [
    dead(sysfs, address),
    firmwareRegion(sysfs, address),
    unassignedBars(sysfs, address),
    carriedText(sysfs, address),
  ];
  return found.filter((text) => text !== undefined);
}

/** Returns why VFIO cannot use the device, or a part of it, although a driver of VFIO takes it. */
export function obstacles(sysfs: string, address: string): string[] {
  return [...unusable(sysfs, address), ...barOwners(sysfs, address).map((owner) => ownerText(owner, sysfs))];
}
