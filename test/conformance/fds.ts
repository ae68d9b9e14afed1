// Information about this process's fds, from /proc.
import { readdirSync, readFileSync, statSync } from 'node:fs';

export const openFds = (): number => readdirSync('/proc/self/fd').length;

export const inodeOf = (fd: number): number => statSync(`/proc/self/fd/${String(fd)}`).ino;

/** Whether the fd has O_CLOEXEC, so that child programs do not inherit it. */
export function closesOnExec(fd: number): boolean {
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'latin1'));
  return (Number.parseInt(flags?.[1] ?? '', 8) & 0o2_000_000) !== 0;
}
