// The parts of a region that can be mapped and exported.
import assert from 'node:assert/strict';
import { Iommufd, VfioDevice } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { deviceKinds, type DeviceKind } from '../../lib/fake/devices';
import { wholePages } from '../../lib/vfio/ranges';

const page = 4096n;

describe('the whole pages of a BAR', () => {
  const parts = (size: bigint, ...holes: [offset: bigint, length: bigint][]) =>
    wholePages(
      size,
      holes.map(([offset, length]) => ({ offset, length })),
    ).map(({ offset, length }) => [offset / page, length / page]);

  it('are all of them without a hole', () => {
    assert.deepEqual(parts(4n * page), [[0n, 4n]]);
    assert.deepEqual(parts(4n * page + 1n), [[0n, 4n]]);
    assert.deepEqual(parts(page - 1n), []);
    assert.deepEqual(parts(0n), []);
  });

  it('leave out every page that a hole touches', () => {
    assert.deepEqual(parts(8n * page, [2n * page, 1n]), [
      [0n, 2n],
      [3n, 5n],
    ]);
    assert.deepEqual(parts(8n * page, [2n * page - 1n, 2n]), [
      [0n, 1n],
      [3n, 5n],
    ]);
    assert.deepEqual(parts(8n * page, [0n, page]), [[1n, 7n]]);
    assert.deepEqual(parts(8n * page, [7n * page, 16n]), [[0n, 7n]]);
    assert.deepEqual(parts(page, [16n, 16n]), []);
  });

  it('with several holes, in any order, that overlap or lie outside', () => {
    assert.deepEqual(parts(8n * page, [6n * page, 8n], [page, 8n]), [
      [0n, 1n],
      [2n, 4n],
      [7n, 1n],
    ]);
    assert.deepEqual(parts(8n * page, [page, 3n * page], [2n * page, 8n]), [
      [0n, 1n],
      [4n, 4n],
    ]);
    assert.deepEqual(parts(8n * page, [page, 0n], [100n * page, page]), [[0n, 8n]]);
    assert.deepEqual(parts(4n * page, [3n * page, 100n * page]), [[0n, 3n]]);
  });
});

describe('a region that its driver leaves open in parts', () => {
  const areas = [3n * page, page, page, 2n * page - 512n, 100n << 30n, page, 0n, 0n];
  const data = new Uint8Array(new BigUint64Array([BigInt(areas.length / 2), ...areas]).buffer);
  const kind: DeviceKind = deviceKinds['bochs-display'];
  const bar = kind.bars[0];
  const saved = bar && { ...bar };
  let kernel: FakeKernel;
  let device: VfioDevice;

  before(() => {
    assert(bar);
    Object.assign(bar, {
      infoCapabilities: [
        { id: 1, version: 1, data },
        { id: 77, version: 2, data: data.slice(0, 5) },
      ],
    });
    kernel = new FakeKernel();
    device = VfioDevice.openSync(kernel.addressOf('display'), { iommufd: Iommufd.open({ kernel }) });
  });
  after(() => {
    kernel.close();
    if (bar) Object.assign(bar, { infoCapabilities: undefined }, saved);
  });

  it('tells them in ascending order, without such as are outside', () =>
    assert.deepEqual(device.region(0).mappableRanges(), [
      { offset: page, length: 2n * page - 512n },
      { offset: 3n * page, length: page },
    ]));

  it('keeps the bytes of capabilities that are unknown', () => {
    const [, unknown] = device.region(0).capabilities;
    assert(unknown?.type === 'unknown');
    assert.deepEqual([unknown.id, unknown.version, unknown.data.subarray(0, 5)], [77, 2, data.slice(0, 5)]);
  });

  it('is mapped inside one part, and nowhere else', () => {
    const region = device.region(0);
    using mapped = region.map({ offset: 3n * page, length: page });
    mapped.write32(16, 0x1234_5678);
    assert.equal(region.read32(3n * page + 16n), 0x1234_5678);
    region.map({ offset: page, length: 512n }).close();
    const refused = { code: 'ERR_NOT_MAPPABLE', message: /0x1000-0x2dff, 0x3000-0x3fff/ };
    assert.throws(() => region.map(), refused);
    assert.throws(() => region.map({ offset: 0n, length: page }), refused);
    assert.throws(() => region.map({ offset: page, length: 2n * page }), refused);
  });
});
