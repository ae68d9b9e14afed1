// Runs cmake-js with the Node headers that are already on this machine, so that it does not download any:
//
//   npm run build:cmake [-- cmake-js options]      configures and builds, in build/cmake unless -O names another folder
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

export const root = path.resolve(__dirname, '..');

/** The folder whose include/node has the headers of the running Node; undefined: there is none. */
function nodeFolder(): string | undefined {
  const cache = process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache');
  const candidates = [
    path.resolve(process.execPath, '../..'),
    process.env['npm_config_nodedir'],
    path.join(cache, 'node-gyp', process.versions.node), // downloaded by `npm install` to build the addon
  ];
  return candidates.find((folder) => folder !== undefined && existsSync(path.join(folder, 'include/node/uv.h')));
}

/** Runs one cmake-js command. Returns its exit code. */
export function cmakeJs(command: 'configure' | 'build', options: readonly string[]): number {
  const folder = nodeFolder();
  const { status, error } = spawnSync(
    process.execPath,
    [require.resolve('cmake-js/bin/cmake-js'), command, '--log-level', 'warn', ...options],
    { cwd: root, stdio: 'inherit', env: { ...process.env, ...(folder && { npm_config_nodedir: folder }) } },
  );
  if (error) throw error;
  return status ?? 1;
}

function main(options: readonly string[]): number {
  const out = options.some((option) => /^(-O|--out)/.test(option)) ? [] : ['-O', 'build/cmake'];
  // cmake-js's own `build` does not notice that an option has changed since the folder was configured.
  return cmakeJs('configure', [...out, ...options]) || cmakeJs('build', [...out, ...options]);
}

if (require.main === module) process.exitCode = main(process.argv.slice(2));
