// Node programs of other versions and architectures, from the npm registry. They are kept in the user's cache.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

import { root } from './cmake';

export const cache = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'vfio-dmabuf');

const npm = (...args: string[]): string =>
  execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

const newest = (versions: string[]): string | undefined =>
  versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);

/** The newest version of a release line: from the registry, or from the cache if the registry is not reachable. */
export function findVersion(line: string, arch = process.arch as string): string {
  const name = `node-linux-${arch}`;
  let known: string[];
  try {
    known = [JSON.parse(npm('view', `${name}@${line}`, 'version', '--json')) as string | string[]].flat();
  } catch (error) {
    const kept = existsSync(cache) ? readdirSync(cache) : [];
    known = kept.filter((entry) => entry.startsWith(`${name}-${line}.`)).map((entry) => entry.slice(name.length + 1));
    if (known.length === 0) throw error;
  }
  const version = newest(known);
  if (version === undefined) throw new Error(`the registry has no ${name}@${line}`);
  return version;
}

/** The folder of this version's `node`. Downloads it if necessary. */
export function fetchNode(version: string, arch = process.arch as string): string {
  const name = `node-linux-${arch}`;
  const folder = path.join(cache, `${name}-${version}`);
  if (!existsSync(folder)) {
    mkdirSync(cache, { recursive: true });
    const partial = mkdtempSync(path.join(cache, 'partial-'));
    try {
      npm('pack', '--silent', '--pack-destination', partial, `${name}@${version}`);
      execFileSync('tar', ['-xzf', path.join(partial, `${name}-${version}.tgz`), '-C', partial, 'package/bin/node']);
      renameSync(path.join(partial, 'package/bin'), folder); // only when the download is complete
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
  }
  if (arch !== process.arch) return folder; // it may not run here
  const runs = execFileSync(path.join(folder, 'node'), ['--version'], { encoding: 'utf8' }).trim();
  if (runs !== `v${version}`) throw new Error(`${folder} holds Node ${runs}`);
  return folder;
}
