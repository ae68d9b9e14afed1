// What loading the package takes, and what works without the addon.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { bundle } from '../../scripts/bundle.cjs';
import { writeNamed } from '../hosts/hosts';

const checkout = resolve(__dirname, '../..');
const addon = 'build/Release/vfio_dmabuf.node';

describe('the package', function () {
  this.timeout(30_000);
  let folder: string;
  let installed: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-load-'));
    installed = join(folder, 'node_modules/vfio-dmabuf');
    mkdirSync(join(installed, 'build/Release'), { recursive: true });
    copyFileSync(join(checkout, 'package.json'), join(installed, 'package.json'));
    for (const name of ['bindings', 'commander', 'file-uri-to-path']) {
      symlinkSync(join(checkout, 'node_modules', name), join(folder, 'node_modules', name));
    }
    await bundle(join(installed, 'dist'));
    symlinkSync(join(checkout, addon), join(installed, addon));
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function run(args: readonly string[], kernel = 'system') {
    const env = { ...process.env, VFIO_DMABUF_KERNEL: kernel };
    return spawnSync(process.execPath, ['--no-warnings', ...args], { cwd: folder, encoding: 'utf8', env });
  }

  /** The JSON that a program prints. */
  function told(program: string, ...flags: string[]): unknown {
    const { stdout, stderr } = run([...flags, '-e', program]);
    assert.notEqual(stdout, '', stderr);
    return JSON.parse(stdout);
  }

  /** The files that a statement loads, with their sizes. */
  const loaded = (statement: string) =>
    told(`
      const builtins = new Set(process.moduleLoadList);
      ${statement}
      const files = Object.keys(require.cache).filter((name) => !name.endsWith('.cjs')).map((name) => name.replace(/.*vfio-dmabuf[/]/, ''));
      const bytes = Object.keys(require.cache).reduce((sum, name) => sum + require('node:fs').statSync(name).size, 0);
      const more = process.moduleLoadList.filter((name) => !builtins.has(name));
      console.log(JSON.stringify({ files, bytes, more }));`) as { files: string[]; bytes: number; more: string[] };

  // Compiling takes most of the time. A megabyte takes 15 to 30 ms.
  for (const [statement, files, bytes] of [
    ["require('vfio-dmabuf');", 4, 12_000],
    ["require('vfio-dmabuf').PciTopology;", 10, 260_000],
    ["const { Iommufd, VfioDevice } = require('vfio-dmabuf');", 12, 430_000],
    ["const all = { ...require('vfio-dmabuf') };", 20, 620_000],
    ["require('vfio-dmabuf/fake');", 10, 250_000],
  ] as const) {
    it(`loads at most ${String(files)} files and not the addon: ${statement}`, () => {
      const found = loaded(statement);
      assert(found.files.length <= files, found.files.join(', '));
      assert(!found.files.some((name) => name.endsWith('.node')));
      assert(found.bytes < bytes, `${String(found.bytes)} bytes`);
      assert(!found.more.some((name) => /stream|child_process|worker|net$|http/.test(name)), found.more.join(', '));
    });
  }

  it('loads the addon when it is used', () => {
    const { files } = loaded("new (require('vfio-dmabuf/fake').FakeKernel)().close();");
    assert(
      files.some((name) => name.endsWith('.node')),
      files.join(', '),
    );
  });

  it('loads a part once, and has plain properties then', () => {
    const program = `
      const all = require('vfio-dmabuf');
      const first = all.PciTopology;
      const { value, enumerable, get } = Object.getOwnPropertyDescriptor(all, 'PciTopology');
      console.log(JSON.stringify([value === first, enumerable, typeof get]));`;
    assert.deepEqual(told(program), [true, true, 'undefined']);
  });

  it('has one copy of each class, for require() and for import', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { Iommufd, Kernel, KernelError, PciTopology, VfioDevice, defaultKernel } from 'vfio-dmabuf';
      import { FakeKernel, machines } from 'vfio-dmabuf/fake';
      const require = createRequire(process.cwd() + '/');
      const common = [require('vfio-dmabuf'), require('vfio-dmabuf/fake')];
      const kernel = new FakeKernel(machines.reference);
      const iommufd = Iommufd.open({ kernel });
      let error;
      try { Iommufd.fromFd(4000); } catch (thrown) { error = thrown; }
      console.log(JSON.stringify([
        kernel instanceof Kernel, kernel instanceof common[0].Kernel, new common[1].FakeKernel() instanceof Kernel,
        iommufd instanceof common[0].Iommufd, error instanceof KernelError, error instanceof common[0].KernelError,
        typeof error.hint,
      ]));`;
    const all = [true, true, true, true, true, true, 'string'];
    assert.deepEqual(told(program, '--input-type=module'), all);
  });

  it('exports the same names as the sources', async () => {
    const names = (name: string) => told(`console.log(JSON.stringify(Object.keys(require('${name}')).sort()))`);
    const imported = (name: string) =>
      told(`import * as all from '${name}'; console.log(JSON.stringify(Object.keys(all)))`, '--input-type=module');
    for (const [name, source] of Object.entries({ '': '../../lib', '/fake': '../../lib/fake' })) {
      const expected = Object.keys((await import(source)) as object)
        .filter((key) => key !== 'default')
        .sort();
      assert(expected.length > 5);
      assert.deepEqual(names(`vfio-dmabuf${name}`), expected);
      const found = imported(`vfio-dmabuf${name}`) as string[];
      for (const key of expected) assert(found.includes(key), key);
    }
  });

  it('has traces that lead to the sources', () => {
    const { stderr } = run(['--enable-source-maps', '-e', "require('vfio-dmabuf').Iommufd.fromFd(-1)"]);
    assert.match(stderr, /lib\/iommufd\/iommufd\.ts:\d+/);
  });

  describe('without the addon', () => {
    let host: string;
    const main = 'node_modules/vfio-dmabuf/dist/cli/main.js';
    before(() => {
      rmSync(join(installed, addon));
      host = join(folder, 'host');
      writeNamed(host, 'gpu-server');
    });

    it('loads, and reads the topology of a host', () => {
      const program = `
        const { PciTopology } = require('vfio-dmabuf');
        const topology = PciTopology.read({ sysfs: 'host/sys' });
        const [one, other] = topology.functions.keys();
        topology.p2pPath(one, other);
        topology.sharedIoas([one, other]);
        console.log(JSON.stringify(topology.functions.size));`;
      assert(Number(told(program)) > 10);
    });

    it('the command line has its help, and reads another host', () => {
      const help = run([main, '--help']);
      assert.deepEqual([help.status, help.stderr], [0, '']);
      assert.match(help.stdout, /topology/);
      assert.equal(run([main, 'topology', '--help']).status, 0);
      for (const command of [['topology'], ['topology', '--matrix'], ['devices']]) {
        const { status, stdout, stderr } = run([main, ...command, '--root', host]);
        assert.deepEqual([status, stderr], [0, ''], command.join(' '));
        assert.match(stdout, /13:00\.0/);
      }
      const pair = run([main, 'topology', '13:00.0', '14:00.0', '--root', host, '--json']);
      assert.equal(typeof (JSON.parse(pair.stdout) as { verdict: unknown }).verdict, 'string', pair.stderr);
    });

    it('a call that needs it is ERR_ADDON_NOT_BUILT, each time', () => {
      const program = `
        const { DmaMemory, Iommufd } = require('vfio-dmabuf');
        const { FakeKernel } = require('vfio-dmabuf/fake');
        const codes = [];
        const calls = [
          () => Iommufd.open(), () => new FakeKernel(), () => DmaMemory.alloc(4096), () => Iommufd.open(),
        ];
        for (const call of calls) try { call(); codes.push('none'); } catch ({ code }) { codes.push(code); }
        console.log(JSON.stringify(codes));`;
      assert.deepEqual(told(program), Array(4).fill('ERR_ADDON_NOT_BUILT'));
      const { status, stderr } = run([main, 'export', '13:00.0', '--region', '0', '--range', '0:4096'], 'fake');
      assert.equal(status, 1);
      assert.match(stderr, /^vfio-dmabuf: the package has no native addon/);
    });
  });
});
