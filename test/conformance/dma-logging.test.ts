// DMA logging: a device's log of its DMA writes. Linux's sample mtty supports it, but its log is always empty.
import assert from 'node:assert/strict';
import { conforms, observe, refuses } from './record';
import { useRig } from './rig';

const pageSize = 4096;
const page = { iova: 0x10_0000n, length: 4096n };
const last = 0xffff_ffff_ffff_f000n;

describe('DMA logging', () => {
  const rig = useRig('serial', 'panel', 'engine');

  conforms('starts, reports and stops, waiting or not', async () => {
    const { dmaLogging } = rig.device('serial');
    assert.equal(observe(await dmaLogging.start({ ranges: [page], pageSize })), 4096n);
    assert.deepEqual(observe(await dmaLogging.report({ ...page, pageSize })), []);
    await dmaLogging.stop();
    observe(dmaLogging.startSync({ ranges: [{ iova: 0, length: 0x1_0000 }, page], pageSize: 0x1_0000 / 16 }));
    observe(dmaLogging.reportSync({ iova: 0, length: 0x10_0000, pageSize: 0x1000 }));
    dmaLogging.stopSync();
  });

  conforms('of a device that keeps no log: ENOTTY', async () => {
    for (const role of ['panel', 'engine'] as const) {
      const { dmaLogging } = rig.device(role);
      await refuses('ENOTTY', () => dmaLogging.start({ ranges: [page], pageSize }));
      await refuses('ENOTTY', () => dmaLogging.startSync({ ranges: [page], pageSize }));
      await refuses('ENOTTY', () => dmaLogging.stop());
      await refuses('ENOTTY', () => dmaLogging.stopSync());
      await refuses('ENOTTY', () => dmaLogging.report({ ...page, pageSize }));
      await refuses('ENOTTY', () => dmaLogging.reportSync({ ...page, pageSize }));
    }
  });

  conforms('of no range, or too many', async () => {
    const { dmaLogging } = rig.device('serial');
    const ranges = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ iova: BigInt(i) * 8192n, length: 4096n }));
    await refuses('EINVAL', () => dmaLogging.start({ ranges: [], pageSize }));
    observe(await dmaLogging.start({ ranges: ranges(256), pageSize }));
    await refuses('E2BIG', () => dmaLogging.start({ ranges: ranges(257), pageSize }));
    await refuses('ERR_OUT_OF_RANGE', () => dmaLogging.start({ ranges: ranges(65537), pageSize }));
    dmaLogging.stopSync();
  });

  conforms('of ranges that overlap or are not aligned: EINVAL', async () => {
    const { dmaLogging } = rig.device('serial');
    const start = (pageSize: number, ...ranges: [number, number][]) =>
      dmaLogging.start({ ranges: ranges.map(([iova, length]) => ({ iova, length })), pageSize });
    await refuses('EINVAL', () => start(4096, [0, 8192], [4096, 4096]));
    await refuses('EINVAL', () => start(4096, [4096, 4096], [4096, 4096]));
    await refuses('EINVAL', () => start(4096, [8192, 4096], [0, 0x10_0000]));
    await refuses('EINVAL', () => start(4096, [512, 4096]));
    await refuses('EINVAL', () => start(4096, [4096, 512]));
    await refuses('EINVAL', () => start(8192, [4096, 8192]));
    await refuses('EINVAL', () => start(0, [4096, 4096]));
    observe(await start(512, [512, 1024], [2048, 512]));
    observe(await start(4096, [4096, 0]));
    dmaLogging.stopSync();
  });

  conforms('past the last address: EOVERFLOW', async () => {
    const { dmaLogging } = rig.device('serial');
    await refuses('EOVERFLOW', () => dmaLogging.start({ ranges: [{ iova: last, length: 4096 }], pageSize }));
    observe(await dmaLogging.start({ ranges: [{ iova: last - 4096n, length: 4096 }], pageSize }));
    await refuses('EOVERFLOW', () => dmaLogging.report({ iova: last, length: 8192, pageSize }));
    await refuses('EOVERFLOW', () => dmaLogging.report({ iova: last, length: 4096, pageSize }));
    dmaLogging.stopSync();
  });

  conforms('reports in pages of a power of two from 4096 on: else EINVAL', async () => {
    const { dmaLogging } = rig.device('serial');
    for (const size of [1, 512, 2048, 4095, 12288]) {
      await refuses('EINVAL', () => dmaLogging.report({ iova: 0, length: 4096 * 12, pageSize: size }));
    }
    for (const size of [4096, 8192, 1 << 21, 1n << 40n]) {
      observe(await dmaLogging.report({ iova: 0, length: 1n << 41n, pageSize: size }).catch(String));
    }
    observe(await dmaLogging.report({ iova: 100, length: 0, pageSize }));
    observe(await dmaLogging.report({ iova: 512, length: 100, pageSize }));
    await refuses('ERR_OUT_OF_RANGE', () => dmaLogging.report({ iova: 0, length: 1n << 50n, pageSize }));
    await refuses('ERR_OUT_OF_RANGE', () => dmaLogging.reportSync({ iova: 0, length: 4096, pageSize: 0 }));
  });

  conforms('can be started and stopped twice on a driver that does not mind', async () => {
    const { dmaLogging } = rig.device('serial');
    observe(await dmaLogging.start({ ranges: [page], pageSize }));
    observe(await dmaLogging.start({ ranges: [page], pageSize }));
    await dmaLogging.stop();
    await dmaLogging.stop();
    observe(await dmaLogging.report({ ...page, pageSize }));
  });
});
