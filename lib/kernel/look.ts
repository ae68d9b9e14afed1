// Looking at sysfs, /proc and the like. Nothing here throws: what cannot be seen is undefined or empty.
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

/** The last part of what a symbolic link leads to. */
export function linked(path: string): string | undefined {
  return attempt(() => basename(readlinkSync(path)));
}
