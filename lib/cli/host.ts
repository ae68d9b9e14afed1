// Selects the host that the commands examine.
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Option } from 'commander';
import { parseRecorded, writeRecorded } from '../kernel/recorded';
import { attempt } from '../kernel/look';
import { defaultKernel } from '../kernel/default-kernel';
import type { PciFunction } from '../pci/function';
import { modelName } from '../pci/names';
import { PciTopology } from '../pci/topology';

export const rootOption = (): Option =>
  new Option(
    '--root <folder>',
    'another host: a file of `record`, or a folder with copies of its sys, proc/cpuinfo and proc/cmdline',
  );

/** Writes a recorded host to a folder that is removed at the end. Returns the path of its sysfs. */
function unpack(file: string): string {
  const host = parseRecorded(readFileSync(file, 'utf8'));
  const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-host-'));
  process.once('exit', () => {
    rmSync(folder, { recursive: true, force: true });
  });
  return writeRecorded(folder, host);
}

const unpacked = new Map<string, string>();

export function sysfsOf(root: string | undefined): string {
  if (root === undefined) return defaultKernel().sysfs;
  if (!attempt(() => statSync(root).isFile())) return join(root, 'sys');
  const sysfs = unpacked.get(root) ?? unpack(root);
  unpacked.set(root, sysfs);
  return sysfs;
}

export function readHost(root: string | undefined): PciTopology {
  return PciTopology.read({ sysfs: sysfsOf(root) });
}

/** For example '32 GT/s x16'. */
export function linkText({ link }: PciFunction): string | undefined {
  return link && `${String(link.speed)} GT/s x${String(link.width)}`;
}

/** Converts a function for the `--json` output of all commands. null: absent or unknown. */
export function toJson(found: PciFunction, name: string): Record<string, unknown> {
  const hex = (value: number, digits: number) => `0x${value.toString(16).padStart(digits, '0')}`;
  return {
    address: found.address,
    name,
    vendor: hex(found.vendor, 4),
    device: hex(found.device, 4),
    class: hex(found.classCode, 6),
    driver: found.driver ?? null,
    cdev: found.cdev === undefined ? null : `/dev/vfio/devices/${found.cdev}`,
    iommuGroup: found.iommuGroup ?? null,
    numaNode: found.numaNode ?? null,
    link: found.link ?? null,
    model: modelName(found) ?? null,
    physicalFunction: found.physicalFunction ?? null,
    slot: found.slot ?? null,
    serialNumber: found.serialNumber ?? null,
    gaps: found.gaps.map(({ what, text }) => ({ what, text })),
  };
}
