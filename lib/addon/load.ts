// Finds and loads the addon: the prebuilt one, or else the one that was built here. Says what is wrong if none loads.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type Bindings from 'bindings';
import { buildCommand, reinstallCommand } from './advice';
import { examine } from './binary';
import { coded } from './coded';

// eslint-disable-next-line @typescript-eslint/no-require-imports -- only when the addon is needed
const loader = () => require('bindings') as typeof Bindings;

const name = 'vfio_dmabuf';
const platform = `${process.platform}-${process.arch}`;

/** The architectures of the package's prebuilt addons. */
const prebuiltFor = ['linux-x64', 'linux-arm64'];

interface Place {
  root: string;
  /** A checkout has a build of its own sources, which no prebuilt addon replaces. */
  isCheckout: boolean;
}

interface Problem {
  code: string;
  message: string;
  cause: unknown;
}

/** The file that bindings finds; undefined: none. */
function find(root: string, paths?: string[][]): string | undefined {
  try {
    const options = { bindings: name, module_root: root, path: true, ...(paths && { try: paths }) };
    return loader()(options) as string;
  } catch (error) {
    if ((error as { tries?: unknown }).tries) return undefined;
    throw error;
  }
}

/** @internal */
export function loadAddon(): unknown {
  const root = findRoot();
  const place = { root, isCheckout: existsSync(join(root, 'tsconfig.build.json')) };
  const prebuilt = place.isCheckout ? undefined : find(root, [['module_root', 'prebuilds', platform, 'bindings']]);
  let problem: Problem | undefined;
  for (const file of [prebuilt, () => find(root)]) {
    const path = typeof file === 'function' ? file() : file;
    if (path === undefined) continue;
    const result = tryToLoad(path, path === prebuilt, place);
    if ('addon' in result) return result.addon;
    problem = result.problem;
  }
  const { code, message, cause } = problem ?? noneFound(place);
  throw coded(new Error(`vfio-dmabuf: ${message}`, { cause }), code);
}

/** The package's folder. A bundle has none. */
function findRoot(): string {
  try {
    // Passing the root to bindings is required: it would replace Error.prepareStackTrace to find it, which may be frozen.
    const root = loader().getRoot(__filename);
    const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name?: unknown };
    if (name === 'vfio-dmabuf') return root;
  } catch {
    // __filename is undefined in an ES module, and a file outside of a package has no root
  }
  throw coded(
    new Error(
      'vfio-dmabuf: the package is part of a bundle, where its native addon cannot be found. Mark it external and ' +
        'install it beside the bundle (esbuild, Bun: --external:vfio-dmabuf; webpack: externals; Rollup, Vite: external).',
    ),
    'ERR_ADDON_BUNDLED',
  );
}

function tryToLoad(file: string, isPrebuilt: boolean, place: Place): { addon: unknown } | { problem: Problem } {
  const build = `build it here: ${buildCommand(place.root, place.isCheckout)}`;
  const mend = isPrebuilt ? `restore it: ${reinstallCommand(place.root)}` : build;
  try {
    const { whole, arch } = examine(file);
    if (!whole || arch === undefined) {
      const what = whole ? 'is no shared library' : 'is truncated';
      return problem('ERR_ADDON_TRUNCATED', `${file} ${what}; ${mend}`);
    }
    if (arch !== process.arch) {
      const which = `${file} was built for ${arch}, and this Node.js is for ${process.arch}`;
      return problem('ERR_ADDON_ARCHITECTURE', `${which}; ${mend}`);
    }
    return { addon: loader()({ bindings: name, module_root: place.root, try: [[file]] }) };
  } catch (error) {
    const { code, message } = causeOf(error, file, build);
    return problem(code, message, error);
  }
}

function problem(code: string, message: string, cause?: unknown): { problem: Problem } {
  return { problem: { code, message, cause } };
}

/** Why the dynamic linker, or Node.js, did not load the file. */
function causeOf(error: unknown, file: string, build: string): { code: string; message: string } {
  const { code, message: why } = error as { code?: string; message: string };
  if (code === 'ERR_DLOPEN_DISABLED') {
    const how = 'start node with --allow-addons, and without --no-addons';
    return { code: 'ERR_ADDON_BLOCKED', message: `this process may not load native addons; ${how}` };
  }
  if (code === 'EACCES' || code === 'ERR_ACCESS_DENIED' || /failed to map segment|Permission denied/.test(why)) {
    const how = 'allow it to be read, on a file system that is mounted without noexec';
    return { code: 'ERR_ADDON_BLOCKED', message: `the system does not let this process load ${file}: ${why}; ${how}` };
  }
  const libc = /libc\.musl|ld-musl/.test(why) ? 'musl' : /ld-linux|symbol not found/.test(why) ? 'glibc' : undefined;
  if (libc) {
    const message = `${file} was built for ${libc}, and this system has another C library; ${build}`;
    return { code: 'ERR_ADDON_LIBC', message };
  }
  // A library, or a version of one, that exists on the machine where the file was built.
  if (/version [`'].*' not found|cannot open shared object file/.test(why)) {
    const message = `${file} was built or copied from another machine (${why}); ${build}`;
    return { code: 'ERR_ADDON_OTHER_MACHINE', message };
  }
  return { code: 'ERR_ADDON_NOT_LOADED', message: `${file} does not load: ${why}. If it does not fit, ${build}` };
}

function noneFound({ root, isCheckout }: Place): Problem {
  const build = buildCommand(root, isCheckout);
  if (isCheckout) {
    const message = `the native addon is not built; build it: ${build}`;
    return { code: 'ERR_ADDON_NOT_BUILT', message, cause: undefined };
  }
  const lost = prebuiltFor.includes(platform) && existsSync(join(root, 'prebuilds'));
  const message = lost
    ? `the package's native addon for ${platform} is missing; restore it: ${reinstallCommand(root)}`
    : `the package has no native addon for ${platform}; build it here: ${build}. This takes Python 3, make and a C++20 ` +
      'compiler';
  return { code: 'ERR_ADDON_NOT_BUILT', message, cause: undefined };
}
