// npm run test:node [-- LINE...]: runs the suite on the newest Node of each release line (default: 20, 22, 24 and 26),
// with the addon as it is built: one build must work with all of them. The Node programs come from the npm registry,
// and are kept in the user's cache.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

import { root } from './cmake';
import { exitWith } from './exit';
import { runSuite } from './suite';

const supported = ['20', '22', '24', '26'];
const name = `node-linux-${process.arch}`;
const cache = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'vfio-dmabuf');

const npm = (...args: string[]): string =>
  execFileSync('npm', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

const newest = (versions: string[]): string | undefined =>
  versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);

/** The newest version of a release line: from the registry, or from the cache if the registry is not reachable. */
function findVersion(line: string): string {
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
function fetchNode(version: string): string {
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
  const runs = execFileSync(path.join(folder, 'node'), ['--version'], { encoding: 'utf8' }).trim();
  if (runs !== `v${version}`) throw new Error(`${folder} holds Node ${runs}`);
  return folder;
}

async function main(lines: readonly string[]): Promise<number> {
  if (!existsSync(path.join(root, 'build/Release/vfio_dmabuf.node'))) {
    throw new Error('test:node: the addon is not built: npx node-gyp rebuild');
  }
  const summary: string[] = [];
  let failed = false;
  for (const line of lines) {
    const version = findVersion(line);
    const { ok, passed } = await runSuite({ folder: root, bin: fetchNode(version) });
    failed ||= !ok;
    summary.push(`Node ${version}: ${passed} passing${ok ? '' : ', FAILED'}`);
  }
  console.log(summary.join('\n'));
  return failed ? 1 : 0;
}

const chosen = process.argv.slice(2);
exitWith(main(chosen.length > 0 ? chosen : supported));
