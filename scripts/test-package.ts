// npm run test:package: packs the package, installs the tarball in another folder, and uses it there as users do: by
// require, by import, and from a strict TypeScript program.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';

const checkout = resolve(__dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-package-'));

function run(title: string, program: string, ...args: string[]): string {
  const start = Date.now();
  const output = execFileSync(program, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  console.log(`ok: ${title} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  return output;
}

function filesBelow(name: string): string[] {
  return readdirSync(join(checkout, name), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(checkout, join(entry.parentPath, entry.name)));
}

// The tarball must have exactly these files: no tests, nothing that was built here, and nothing in dist/ whose source
// was removed.
const declarations = ['.d.ts', '.d.ts.map'];
const bundles = ['index.js', 'fake/index.js', 'library.js', 'library.js.map', 'cli/main.js', 'cli/main.js.map'];
const sharedBundle = /^dist\/shared-[A-Z0-9]{8}\.js(?:\.map)?$/;
const sources = filesBelow('lib');
const expected = [
  ...[
    'package.json',
    'binding.gyp',
    'CMakeLists.txt',
    'README.md',
    'ARCHITECTURE.md',
    'SECURITY.md',
    'CHANGELOG.md',
    'LICENSE',
  ],
  ...filesBelow('man'),
  ...filesBelow('native'),
  ...sources,
  ...sources.flatMap((file) => declarations.map((end) => file.replace(/^lib(.*)\.ts$/, `dist$1${end}`))),
  ...bundles.map((file) => `dist/${file}`),
];

function pack(): string {
  execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: checkout, stdio: 'inherit' });
  const { version } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as { version: string };
  const tarball = join(folder, `vfio-dmabuf-${version}.tgz`);
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

function main(): void {
  const tarball = pack();
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', private: true }));
  run('installs, and builds the addon', 'npm', 'install', '--silent', '--foreground-scripts', tarball);

  const require = "const { Iommufd } = require('vfio-dmabuf'); if (typeof Iommufd.open !== 'function') throw 1";
  run('require', 'node', '-e', require);
  const named = "import { Iommufd } from 'vfio-dmabuf'; import { FakeKernel } from 'vfio-dmabuf/fake';";
  const use = 'Iommufd.open({ kernel: new FakeKernel() }).close();';
  run('import', 'node', '--input-type=module', '-e', `${named} ${use}`);

  // The TypeScript compiler and Node's types come from the checkout; the package itself is the installed one.
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
  run('a strict TypeScript program compiles against it', 'node', join(checkout, 'node_modules/typescript/bin/tsc'));
  for (const file of ['out/common.cjs', 'out/module.mjs']) {
    const output = run(`${file} runs`, 'node', file);
    if (output !== 'reference 4096n 10400\n') throw new Error(`it printed ${output}`);
  }

  // The state after a package manager that runs no install scripts.
  rmSync(join(folder, 'node_modules/vfio-dmabuf/build'), { recursive: true });
  const code = run(
    'without the addon',
    'node',
    '-e',
    "try { require('vfio-dmabuf').Iommufd.open() } catch (e) { console.log(e.code) }",
  );
  if (code !== 'ERR_ADDON_NOT_BUILT\n') throw new Error(`Iommufd.open() threw ${code}`);
}

try {
  main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error, (error as { stdout?: string }).stdout ?? '');
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
