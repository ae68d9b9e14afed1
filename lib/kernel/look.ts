// Reads sysfs, /proc and similar files. These functions do not throw; unreadable content is undefined or empty.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';

export function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

export function text(path: string): string {
  return attempt(() => readFileSync(path, 'utf8')) ?? '';
}

export function list(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? [];
}

/** Returns the last component of a symbolic link's target. */
export function linked(path: string): string | undefined {
  return attempt(() => basename(readlinkSync(path)));
}
