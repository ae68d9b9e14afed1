// npm run prebuild [-- ARCH...]: builds the addon that the package contains for each architecture (default: x64 and
// arm64) in prebuilds/linux-ARCH, for x64 with the preload library of `vfio-dmabuf run`, and checks that they load with
// glibc 2.31 and newer. For another architecture than the machine's, it needs that architecture's compiler (Debian:
// g++-aarch64-linux-gnu, g++-x86-64-linux-gnu).
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { root } from './cmake';
import { readNeeds, type Needs } from './elf';

/** The prefix of the GNU compiler's programs, by architecture. */
const compilers: Record<string, string> = { x64: 'x86_64-linux-gnu-', arm64: 'aarch64-linux-gnu-' };

/** The files that the build makes for an architecture. */
const binaries = (arch: string): string[] => ['vfio_dmabuf.node', ...(arch === 'x64' ? ['vfio_dmabuf_run.so'] : [])];

/** The newest symbol version that a prebuilt addon may need of each library: those of Debian 11 and Ubuntu 20.04. */
const newest: Record<string, string> = { GLIBC: '2.31', GCC: '9.0' };

/** The libraries that a prebuilt addon may need. Node itself needs them, too. */
const known = /^(?:libc\.so\.6|libm\.so\.6|libpthread\.so\.0|libdl\.so\.2|libgcc_s\.so\.1|ld-linux-[-\w]+\.so\.\d)$/;

/** The package's prebuilt files for an architecture; the addon is the first. */
export const prebuilt = (arch: string): string[] =>
  binaries(arch).map((name) => path.join(root, `prebuilds/linux-${arch}`, name));

/** Why a binary does not load on every system with glibc 2.31 or newer. */
export function faults({ libraries, versions }: Needs): string[] {
  const other = libraries.filter((library) => !known.test(library)).map((library) => `it needs ${library}`);
  const newer = versions.filter(({ version }) => {
    const [, name = '', numbers = ''] = /^([A-Z]+)_([\d.]+)$/.exec(version) ?? [];
    const limit = newest[name];
    return limit === undefined || limit.localeCompare(numbers, 'en', { numeric: true }) < 0;
  });
  return [...other, ...newer.map(({ library, version }) => `it needs ${version} of ${library}`)];
}

function build(arch: string): void {
  const prefix = compilers[arch];
  if (prefix === undefined) throw new Error(`no prebuilt addon for ${arch}: ${Object.keys(compilers).join(', ')}`);
  const tools = { CC: `${prefix}gcc`, CXX: `${prefix}g++`, AR: `${prefix}ar`, LINK: `${prefix}g++` };
  if (spawnSync(tools.CXX, ['--version']).status !== 0) {
    throw new Error(`${tools.CXX} does not run (Debian: apt install g++-${prefix.slice(0, -1).replace('_', '-')})`);
  }
  // A build in the checkout would replace the developer's own.
  const folder = mkdtempSync(path.join(tmpdir(), 'vfio-dmabuf-prebuild-'));
  try {
    for (const name of ['native', 'binding.gyp', 'package.json']) {
      cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
    }
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
    execFileSync(
      process.execPath,
      [
        require.resolve('node-gyp/bin/node-gyp.js'),
        ...['rebuild', '-j', 'max', `--arch=${arch}`, '--loglevel=error', '--', '-Dprebuilt=1'],
      ],
      { cwd: folder, env: { ...process.env, ...tools }, stdio: ['ignore', 'ignore', 'inherit'] },
    );
    for (const file of prebuilt(arch)) {
      const name = path.basename(file);
      const built = path.join(folder, 'build/Release', name);
      const needs = readNeeds(built);
      if (needs.arch !== arch) throw new Error(`${prefix}g++ made ${name} for ${needs.arch}`);
      const wrong = faults(needs);
      if (wrong.length > 0) throw new Error(`${name} for ${arch} does not fit:\n  ${wrong.join('\n  ')}`);
      mkdirSync(path.dirname(file), { recursive: true });
      copyFileSync(built, file);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  for (const file of prebuilt(arch)) {
    console.log(`${path.relative(root, file)}: ${Math.round(statSync(file).size / 1024)} KiB`);
  }
}

function main(chosen: readonly string[]): number {
  try {
    for (const arch of chosen.length > 0 ? chosen : Object.keys(compilers)) build(arch);
    return 0;
  } catch (error) {
    console.error(`prebuild: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
}

if (require.main === module) process.exitCode = main(process.argv.slice(2));
