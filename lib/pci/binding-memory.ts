// What `bind` remembers of a device: its previous driver. It is a file of the host, in /run, which a restart empties as
// it does the bindings; with a persistent binding, the udev rule has the driver, too.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, text } from '../kernel/look';
import { procOf, rootOf } from './host-root';

/** What is remembered of a device. */
export interface Remembered {
  /** undefined: it had no driver. */
  driver: string | undefined;
  /** Its driver_override before, if any. */
  override: string | undefined;
  /** The driver that it was given to. */
  to: string | undefined;
}

const identityFiles = ['vendor', 'device', 'subsystem_vendor', 'subsystem_device', 'revision', 'class'];

/** What tells whether the device at an address is still the same, for example '0x144d 0xa80a …'. */
function identityOf(sysfs: string, address: string): string {
  const read = (file: string) => text(join(sysfs, 'bus/pci/devices', address, file)).trim() || '-';
  return identityFiles.map(read).join(' ');
}

const bootOf = (sysfs: string): string => text(join(procOf(sysfs), 'sys/kernel/random/boot_id')).trim();

/** The file that has the memory of a device. It belongs to the host of this sysfs, as a fake host's does. */
export function memoryFile(sysfs: string, address: string): string {
  return join(rootOf(sysfs), 'run/vfio-dmabuf/drivers', address);
}

/** The file that is locked while a device's driver is changed. It also has the log of the change. */
export function lockFile(sysfs: string, address: string): string {
  return join(rootOf(sysfs), 'run/vfio-dmabuf/locks', address);
}

/** The lines of the file after the first, which has the driver. */
export function memoryDetails(sysfs: string, address: string, override: string | undefined, to: string): string {
  const lines = [
    `to ${to}`,
    `identity ${identityOf(sysfs, address)}`,
    ...(bootOf(sysfs) === '' ? [] : [`boot ${bootOf(sysfs)}`]),
    ...(override === undefined ? [] : [`override ${override}`]),
  ];
  return `\n${lines.join('\n')}\n`;
}

/**
 * Returns what is remembered of the device; 'stale': the memory is of another device that was at this address, or from
 * before a restart; undefined: nothing is remembered.
 */
export function recall(sysfs: string, address: string): Remembered | 'stale' | undefined {
  const content = attempt(() => readFileSync(memoryFile(sysfs, address), 'utf8'));
  if (content === undefined) return undefined;
  const field = (name: string) => new RegExp(`^${name} (.*)$`, 'm').exec(content)?.[1];
  const [identity, boot] = [field('identity'), field('boot')];
  if (identity !== undefined && identity !== identityOf(sysfs, address)) return 'stale';
  if (boot !== undefined && bootOf(sysfs) !== '' && boot !== bootOf(sysfs)) return 'stale';
  const driver = content.split('\n')[0]?.trim() ?? '';
  return { driver: driver === '' ? undefined : driver, override: field('override'), to: field('to') };
}
