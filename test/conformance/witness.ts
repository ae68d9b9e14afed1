// Records the ioctls of each case, the kind of device, and their results. The table of the ABI is generated from these
// records.
import { subscribe } from 'node:diagnostics_channel';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { defaultKernel, ioctlChannel, type IoctlMessage } from '../../lib';
import { publish } from '../../lib/addon/trace';

/** Results by the ioctl's name: 'edu: ok', 'nvme: EINVAL', 'ok' (without a device), … */
export type Ioctls = Record<string, string[]>;

const list = (folder: string) => {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
};

/** Names that QEMU and the kernel use for the machine's devices, by vendor and device ID. */
const names: Partial<Record<string, string>> = {
  '0x1234 0x11e8': 'edu',
  '0x1b36 0x0010': 'nvme',
  '0x1234 0x1111': 'bochs-display',
  '0x1b36 0x0005': 'pci-testdev',
};

/** The kind of the device behind a VFIO character device. */
function kindOf(cdev: string): string {
  const { sysfs } = defaultKernel();
  const has = (bus: string) => (name: string) => list(join(sysfs, bus, name, 'vfio-dev')).includes(cdev);
  const [pci, mdev] = ['bus/pci/devices', 'bus/mdev/devices'];
  const address = list(join(sysfs, pci)).find(has(pci));
  if (address !== undefined) {
    const read = (file: string) => readFileSync(join(sysfs, pci, address, file), 'utf8').trim();
    const id = `${read('vendor')} ${read('device')}`;
    return names[id] ?? id;
  }
  const uuid = list(join(sysfs, mdev)).find(has(mdev));
  return uuid === undefined ? cdev : readFileSync(join(sysfs, mdev, uuid, 'mdev_type/name'), 'utf8').trim();
}

const kinds = new Map<string, string>();

function deviceOf(file: string): string {
  if (file.startsWith('anon_inode:[vfio-device')) return 'a device of a group';
  if (!file.startsWith('/dev/vfio/devices/')) return '';
  const kind = kinds.get(file) ?? kindOf(basename(file));
  kinds.set(file, kind);
  return kind;
}

let current: Map<string, Set<string>> | undefined;
/** The kind that is recorded if the fd does not belong to a device. */
let standIn = '';

/** Declares that this case's IOMMUFD calls concern a device that is not VFIO's, for example a mock device. */
export function aboutDevice(kind: string): void {
  standIn = kind;
}

/** Starts recording ioctls. */
export function startWitness(): void {
  subscribe(ioctlChannel, (message) => {
    if (!current) return;
    const { ioctl, file, code } = message as IoctlMessage;
    const device = deviceOf(file) || standIn;
    const seen = current.get(ioctl) ?? new Set();
    seen.add(`${device === '' ? '' : `${device}: `}${code ?? 'ok'}`);
    current.set(ioctl, seen);
  });
}

/** Runs a case. Returns the ioctls of the case itself, without those of its setup. */
export async function witness(body: () => unknown): Promise<Ioctls> {
  publish();
  const seen = (current = new Map<string, Set<string>>());
  standIn = '';
  try {
    await body();
  } finally {
    publish();
    current = undefined;
  }
  return Object.fromEntries([...seen].map(([ioctl, outcomes]) => [ioctl, [...outcomes].sort()]));
}
