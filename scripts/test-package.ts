// npm run test:package: packs the package, and uses the tarball as users do: installs it by each package manager, requires
// and imports it, compiles a strict TypeScript program against it, runs the README's quick start on each Node.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';

import { emulateNode } from './emulated-node';
import { fetchNode, findVersion } from './node-versions';
import { testManagers, testRebuild } from './package/managers';
import { fetchTools, oldestTypeScript } from './package/tools';
import { prebuilt } from './prebuild';

const checkout = resolve(__dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-package-'));

const fake = { VFIO_DMABUF_KERNEL: 'fake' };

function runIn(
  { cwd = folder, env = {} }: { cwd?: string; env?: NodeJS.ProcessEnv },
  title: string,
  program: string,
  ...args: string[]
): string {
  const start = Date.now();
  const output = execFileSync(program, args, {
    ...{ cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
    env: { ...process.env, ...env },
  });
  console.log(`ok: ${title} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  return output;
}

const run = (title: string, program: string, ...args: string[]): string => runIn({}, title, program, ...args);

function expect(what: string, actual: string, expected: string | RegExp): void {
  const same = typeof expected === 'string' ? actual === expected : expected.test(actual);
  if (!same) throw new Error(`${what}: ${actual}`);
}

function filesBelow(name: string): string[] {
  return readdirSync(join(checkout, name), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(checkout, join(entry.parentPath, entry.name)));
}

// The tarball must have exactly these files: no tests, no build of this machine, nothing in dist/ whose source was
// removed, and no binding.gyp, which would make package managers compile.
const declarations = ['.d.ts', '.d.ts.map'];
const parts = ['runtime', 'core', 'host', 'peers', 'topology', 'fakes', 'fake/index', 'cli/main'];
const sharedBundle = /^dist\/shared-[A-Z0-9]{8}\.js(?:\.map)?$/;
const sources = filesBelow('lib');
const expected = [
  'package.json',
  'CMakeLists.txt',
  ...['README.md', 'ARCHITECTURE.md', 'SECURITY.md', 'CHANGELOG.md', 'LICENSE'],
  ...filesBelow('docs').filter((file) => /^docs\/[^/]*\.(?:md|json)$/.test(file)),
  ...filesBelow('examples'),
  ...filesBelow('man'),
  ...filesBelow('native'),
  ...filesBelow('scripts/install'),
  ...['x64', 'arm64'].flatMap((arch) => prebuilt(arch).map((file) => relative(checkout, file))),
  ...sources,
  ...sources.flatMap((file) => declarations.map((end) => file.replace(/^lib(.*)\.ts$/, `dist$1${end}`))),
  'dist/index.js',
  ...parts.flatMap((part) => [`dist/${part}.js`, `dist/${part}.js.map`]),
];

interface Manifest {
  version: string;
  engines: { node: string };
}

const manifest = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as Manifest;

function pack(): string {
  const missingArch = ['x64', 'arm64'].filter((arch) => !prebuilt(arch).every((file) => existsSync(file)));
  if (missingArch.length > 0) {
    execFileSync('npm', ['run', '--silent', 'prebuild', '--', ...missingArch], { cwd: checkout, stdio: 'inherit' });
  }
  execFileSync('npm', ['run', '--silent', 'build:ts'], { cwd: checkout, stdio: 'inherit' });
  const options = ['--silent', '--ignore-scripts', '--pack-destination', folder];
  execFileSync('npm', ['pack', ...options], { cwd: checkout, stdio: ['ignore', 'ignore', 'inherit'] });
  const tarball = join(folder, `vfio-dmabuf-${manifest.version}.tgz`);
  const files = run('packs', 'tar', '-tzf', tarball)
    .trim()
    .split('\n')
    .map((file) => file.replace('package/', ''));
  const surplus = files.filter((file) => !expected.includes(file) && !sharedBundle.test(file));
  const missing = expected.filter((file) => !files.includes(file));
  if (surplus.length + missing.length > 0) {
    throw new Error(`the tarball has too much (${surplus.join(', ')}) or too little (${missing.join(', ')})`);
  }
  return tarball;
}

/** What the pages say about versions is what is tested here. */
function checkVersions(): void {
  const [, logged] = /^## (\S+)/m.exec(readFileSync(join(checkout, 'CHANGELOG.md'), 'utf8')) ?? [];
  if (logged !== manifest.version) throw new Error(`CHANGELOG.md begins with ${logged}, not ${manifest.version}`);
  expect('engines', manifest.engines.node, '>=20.4');
  const readme = readFileSync(join(checkout, 'README.md'), 'utf8');
  const typescript = `TypeScript ${oldestTypeScript.replace(/\.\d+$/, '')}`;
  for (const version of ['Node.js 20.4', typescript]) {
    if (!readme.includes(version)) throw new Error(`README.md does not name ${version}`);
  }
}

const typed = `
import { DmaBuf, Iommufd, KernelError, VfioDevice, type Ioas, type IoasMapping, type MapOptions } from 'vfio-dmabuf';
import { FakeKernel, type Machine } from 'vfio-dmabuf/fake';

async function main(): Promise<void> {
  const kernel = new FakeKernel();
  const machine: Machine = kernel.machine;
  using iommufd = Iommufd.open({ kernel });
  using ioas: Ioas = iommufd.allocIoas();
  using ssd = await VfioDevice.open(kernel.addressOf('ssd'), { iommufd });
  await ssd.attach(ioas);
  using buffer: DmaBuf = ssd.exportDmaBuf({ region: 2, ranges: [{ offset: 0n, length: 4096 }] });
  const options: MapOptions = { iova: 0x1000n, access: 'r' };
  const mapping: IoasMapping = ioas.mapDmaBuf(buffer, options);
  const iova: bigint = mapping.iova;
  const value: number = ssd.region(0).map().read32(8);
  try {
    ioas.mapDmaBuf(buffer, options);
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'EEXIST') throw error;
  }
  // @ts-expect-error: a region is a number
  if (Date.now() < 0) ssd.exportDmaBuf({ region: '2', offset: 0n, length: 4096n });
  console.log(machine.name, iova, value.toString(16));
}

void main();
`;

/** The README's quick start. It ends with a mapping that is live again. */
function quickStart(): string {
  const [, program] =
    /^## Quick start$[^]*?^```ts$([^]*?)^```$/m.exec(readFileSync(join(checkout, 'README.md'), 'utf8')) ?? [];
  if (program === undefined) throw new Error('README.md has no quick start');
  return `${program}\nconsole.log(peer.state);\n`;
}

/** Compiles strict programs against the installed package. */
function compile(tsc: string): void {
  // Node's types come from the checkout; the package itself is the installed one.
  for (const name of ['@types', 'undici-types']) {
    symlinkSync(join(checkout, 'node_modules', name), join(folder, 'node_modules', name));
  }
  const compilerOptions = {
    ...{ target: 'es2022', module: 'node16', lib: ['es2022', 'esnext.disposable'], types: ['node'] },
    ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: false },
    outDir: 'out',
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.cts', '*.mts'] }));
  writeFileSync(join(folder, 'common.cts'), typed);
  writeFileSync(join(folder, 'module.mts'), typed);
  writeFileSync(join(folder, 'quick-start.mts'), quickStart());
  run("the checkout's TypeScript accepts the types", 'node', join(checkout, 'node_modules/typescript/bin/tsc'));
  run(`TypeScript ${oldestTypeScript} accepts the types`, 'node', tsc);
  for (const file of ['out/common.cjs', 'out/module.mjs']) {
    expect(file, run(`${file} runs`, 'node', file), 'reference 4096n 10400\n');
  }
}

function testNodes(): void {
  const file = 'out/quick-start.mjs';
  for (const version of ['20.4.0', ...['22', '24', '26'].map((line) => findVersion(line))]) {
    const node = join(fetchNode(version), 'node');
    expect(version, runIn({ env: fake }, `the quick start on Node ${version}`, node, file), 'live\n');
  }
  const { version, env } = emulateNode(join(folder, 'arm64'), '20');
  const node = join(folder, 'arm64/node');
  const title = `the quick start on Node ${version} for arm64, emulated`;
  expect('arm64', runIn({ env: { ...fake, ...env } }, title, node, file), 'live\n');
}

const use = "new (require('vfio-dmabuf/fake').FakeKernel)().close();";

const caught = (load: string): string => `try { ${load} } catch (e) { console.log(e.code, e.message) }`;

/** A bundle, with the package in it and with the package external. */
function testBundle(): void {
  writeFileSync(join(folder, 'bundled.js'), caught(`${use} console.log('works');`));
  const esbuild = join(checkout, 'node_modules/esbuild/bin/esbuild');
  const bundle = ['bundled.js', '--bundle', '--platform=node', '--log-level=error', '--outfile=bundle.js'];
  run('bundles', esbuild, ...bundle);
  expect('a bundle', run('a bundle runs', 'node', 'bundle.js'), /^ERR_ADDON_BUNDLED .*--external:vfio-dmabuf/);
  run('bundles without the package', esbuild, ...bundle, '--external:vfio-dmabuf');
  expect('an external package', run('the bundle runs', 'node', 'bundle.js'), 'works\n');
}

/** `vfio-dmabuf run` by the installed command line tool, with the library that it finds. */
function testRun(title: string): void {
  if (process.arch !== 'x64') return;
  const listed = run(title, 'npx', '--no', 'vfio-dmabuf', 'run', '--', 'ls', '/sys/bus/pci/drivers/vfio-pci');
  expect('vfio-dmabuf run', listed, /^0000:01:00\.0$/m);
}

/** Builds the addon where the package has none, by the command that the error names. */
function testBuild(): void {
  const installed = join(folder, 'node_modules/vfio-dmabuf');
  rmSync(join(installed, 'prebuilds'), { recursive: true });
  const load = caught(`${use} console.log('works');`);
  const message = run('without an addon', 'node', '-e', load);
  expect('without an addon', message, /^ERR_ADDON_NOT_BUILT .*build it here: npx --no vfio-dmabuf-build\. /);
  run('builds the addon', 'npx', '--no', 'vfio-dmabuf-build');
  expect('a built addon', run('with the built addon', 'node', '-e', load), 'works\n');
  testRun('vfio-dmabuf run, with the built library');
  if (existsSync(join(installed, 'binding.gyp'))) throw new Error('the build left a binding.gyp');
}

function main(): void {
  checkVersions();
  const tools = fetchTools();
  const tarball = pack();
  run('publint', 'node', tools.publint, 'run', tarball, '--strict');
  run('attw', 'node', tools.attw, '--no-color', tarball);

  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', private: true }));
  run('installs', 'npm', 'install', '--silent', '--ignore-scripts', '--no-audit', '--no-fund', tarball);
  const require = "const { Iommufd } = require('vfio-dmabuf'); if (typeof Iommufd.open !== 'function') throw 1";
  run('require', 'node', '-e', require);
  const named = "import { Iommufd } from 'vfio-dmabuf'; import { FakeKernel } from 'vfio-dmabuf/fake';";
  const use = 'Iommufd.open({ kernel: new FakeKernel() }).close();';
  run('import', 'node', '--input-type=module', '-e', `${named} ${use}`);
  compile(tools.tsc);
  testNodes();
  testManagers(folder, tarball, tools, readFileSync(join(folder, 'out/quick-start.mjs'), 'utf8'), 'live\n');
  testRun('vfio-dmabuf run, with the prebuilt library');
  testBundle();

  const linked = join(folder, 'a checkout');
  const left = ['node_modules', 'build', 'prebuilds', '.git', 'test', 'docs', 'native'].map((name) =>
    join(checkout, name),
  );
  cpSync(checkout, linked, { recursive: true, filter: (file) => !left.includes(file) });
  testRebuild(folder, linked);
  testBuild();
}

try {
  main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error, (error as { stdout?: string }).stdout ?? '');
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
