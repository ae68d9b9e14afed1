// A kernel with other pages than 4 KiB, as on 64-bit Arm and POWER: what the library rounds to and demands. The size is
// replaced in a process of its own; the kernel of the machine that runs this keeps its pages.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { typescript } from '../typescript';

const program = (body: string) => `
  const bindings = require('bindings');
  const given = { pageSize: { value: 65536n, enumerable: true } };
  const replace = (found) => (typeof found === 'string' ? found : Object.create(found, given)); // a path, or the addon
  const replaced = Object.assign((...args) => replace(bindings(...args)), bindings);
  require.cache[require.resolve('bindings')].exports = replaced;
  const assert = require('node:assert/strict');
  const library = require('./lib');
  const { FakeKernel } = require('./lib/fake');
  const { hintFor } = require('./lib/hints');
  const kernel = new FakeKernel();
  async function main() { ${body} }
  main().then(() => kernel.close(), (error) => { kernel.close(); console.error(error); process.exitCode = 1; });`;

function run(body: string): void {
  const { status, stderr } = spawnSync(process.execPath, [...typescript, '-e', program(body)], {
    ...{ cwd: resolve(__dirname, '../..'), encoding: 'utf8' },
  });
  assert.equal(status, 0, stderr);
}

describe('with pages of 64 KiB', function () {
  this.timeout(60_000);

  it('memory is whole pages', () => {
    run(`
      for (const size of [1, 4096, 65536]) {
        const memory = library.DmaMemory.alloc(size, { kernel });
        assert.equal(memory.size, 65536);
        memory.close();
      }
      assert.throws(() => library.DmaMemory.alloc(2n ** 32n + 1n, { kernel }), { code: 'ERR_OUT_OF_RANGE' });`);
  });

  it('exportable ranges are whole pages, and a smaller BAR has none', () => {
    run(`
      const iommufd = library.Iommufd.open({ kernel });
      const ssd = await library.VfioDevice.open(kernel.addressOf('ssd'), { kernel, iommufd });
      assert.deepEqual(ssd.region(0).exportableRanges(), []);
      assert.deepEqual(ssd.region(2).exportableRanges(), [{ offset: 0n, length: 16n << 20n }]);
      const controller = new library.NvmeController(ssd);
      assert.match(controller.version, /^1/);
      assert.throws(() => controller.doorbells(), { code: 'ERR_NOT_EXPORTABLE', message: /65536 bytes.*registers/ });
      iommufd.close();`);
  });

  it('hints tell the page size, and the BAR that is smaller', () => {
    run(`
      const device = kernel.addressOf('ssd');
      const words = (...all) => new BigUint64Array(all);
      const hint = (region, ...all) =>
        hintFor('VFIO_DEVICE_FEATURE_DMA_BUF', 'EINVAL', { device, region }, { kernel, words: words(...all) });
      assert.match(hint(2, 0x1000n, 0x10000n), /range 0 .*not page aligned .*0x10000/);
      assert.match(hint(0, 0n, 0x4000n), /BAR 0 is 0x4000 bytes, smaller than a page of this kernel .0x10000/);
      assert.match(hintFor('VFIO_DEVICE_FEATURE_DMA_LOGGING_START', 'E2BIG', {}, {}), /4096/);`);
  });
});
