// Finds the other parts of the host that a sysfs belongs to: its /proc, /run, /etc and /lib are next to its /sys.
import { existsSync, realpathSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { attempt, text } from '../kernel/look';

const real = (sysfs: string): string => attempt(() => realpathSync(sysfs)) ?? resolve(sysfs);

/** Whether it is the sysfs of this host at its usual place. */
export function isThisHost(sysfs: string): boolean {
  return real(sysfs) === '/sys';
}

/** Returns the root folder of the host whose sysfs this is: '/' for '/sys'. Links to another host's sysfs are followed. */
export function rootOf(sysfs: string): string {
  return dirname(real(sysfs));
}

/** Returns the host's proc. A sysfs without a proc next to it is one of this host that is mounted elsewhere. */
export function procOf(sysfs: string): string {
  const beside = join(rootOf(sysfs), 'proc');
  return existsSync(beside) ? beside : '/proc';
}

/** Returns the release of the host's kernel, for example '6.19.4-amd64'; undefined: unknown. */
export function kernelRelease(sysfs: string): string | undefined {
  if (isThisHost(sysfs)) return release();
  return text(join(rootOf(sysfs), 'proc/sys/kernel/osrelease')).trim() || undefined;
}
