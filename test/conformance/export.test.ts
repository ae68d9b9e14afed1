// The parts of a BAR that can be exported as dma-bufs.
import assert from 'node:assert/strict';
import { DmaBuf, Iommufd, KernelError, VfioDevice } from '../../lib';
import { conforms, observe, refuses } from './record';
import { addresses, cmb, MiB, page, useRig } from './rig';

describe('exporting a dma-buf', () => {
  const rig = useRig('ssd', 'display', 'engine', 'ports');
  const tryExport = (region: number, offset: bigint, length: bigint, role: 'ssd' | 'ports' | 'engine' = 'ssd') =>
    rig.keep(rig.device(role).exportDmaBuf({ region, offset, length }));

  conforms('of a whole BAR, a part of it, and registers', () => {
    assert.equal(observe(tryExport(2, 0n, cmb.size).size), cmb.size);
    assert.equal(observe(tryExport(2, MiB, page).size), page);
    assert.equal(observe(tryExport(0, 0x1000n, page).size), page);
    assert.equal(observe(tryExport(0, 0n, MiB, 'engine').size), MiB);
  });

  conforms('of several ranges: the size is their sum, in their order, overlapping or not', () => {
    const ranges = [
      { offset: 8n * page, length: 2n * page },
      { offset: 0, length: 4096 },
      { offset: 0n, length: page },
    ];
    assert.equal(observe(rig.keep(rig.device('ssd').exportDmaBuf({ region: 2, ranges })).size), 4n * page);
  });

  conforms('each export is a buffer of its own', () => {
    const [a, b] = [tryExport(2, 0n, page), tryExport(2, 0n, page)];
    assert.notEqual(a.inode, b.inode);
    assert.equal(observe(a.exporterName), 'vfio_pci_core');
  });

  const badInput: [string, string, () => unknown][] = [
    ['no ranges: EINVAL', 'EINVAL', () => rig.device('ssd').exportDmaBuf({ region: 2, ranges: [] })],
    ['a length of zero: EINVAL', 'EINVAL', () => tryExport(2, 0n, 0n)],
    ['a misaligned offset: EINVAL', 'EINVAL', () => tryExport(2, 100n, page)],
    ['a misaligned length: EINVAL', 'EINVAL', () => tryExport(2, 0n, 100n)],
    ["past the BAR's end: EINVAL", 'EINVAL', () => tryExport(2, cmb.size, page)],
    ["across the BAR's end: EINVAL", 'EINVAL', () => tryExport(2, cmb.size - page, 2n * page)],
    ['an I/O port BAR: EINVAL', 'EINVAL', () => tryExport(1, 0n, page, 'ports')],
    ['the ROM: ENODEV', 'ENODEV', () => tryExport(6, 0n, page)],
    ['config space: ENODEV', 'ENODEV', () => tryExport(7, 0n, page)],
    ['a region far out: ENODEV', 'ENODEV', () => tryExport(0xffff_ffff, 0n, page)],
    ['an offset that overflows: EOVERFLOW', 'EOVERFLOW', () => tryExport(2, 0xffff_ffff_ffff_f000n, page)],
    ['a length that overflows: EINVAL', 'EINVAL', () => tryExport(2, 0n, 0xffff_ffff_ffff_f000n)],
    ['an end that overflows: EOVERFLOW', 'EOVERFLOW', () => tryExport(2, 0xffff_ffff_fff0_0000n, 2n * MiB)],
  ];
  for (const [title, code, attempt] of badInput) {
    conforms(title, () => refuses(code, attempt));
  }

  conforms('a BAR that is not there: ENODEV', async () => {
    await refuses('ENODEV', () => tryExport(3, 0n, page));
    await refuses('ENODEV', () => tryExport(1, 0n, page, 'engine'));
  });

  conforms('lengths whose sum overflows: EINVAL', async () => {
    const ranges = [
      { offset: 0n, length: 1n << 63n },
      { offset: 0n, length: 1n << 63n },
    ];
    await refuses('EINVAL', () => rig.device('ssd').exportDmaBuf({ region: 2, ranges }));
  });

  conforms('bad arguments never reach the kernel', async () => {
    const device = rig.device('ssd');
    await refuses('ERR_INVALID_ARG_TYPE', () => device.exportDmaBuf(null as never));
    await refuses('ERR_INVALID_ARG_TYPE', () => device.exportDmaBuf({ region: '2' as never, offset: 0, length: 1 }));
    await refuses('ERR_INVALID_ARG_TYPE', () => device.exportDmaBuf({ region: 2 } as never));
    await refuses('ERR_OUT_OF_RANGE', () => device.exportDmaBuf({ region: -1, offset: 0, length: 4096 }));
    await refuses('ERR_OUT_OF_RANGE', () => device.exportDmaBuf({ region: 2, offset: -1n, length: 4096 }));
    await refuses('ERR_OUT_OF_RANGE', () => device.exportDmaBuf({ region: 2, offset: 1n << 64n, length: 4096 }));
    await refuses('ERR_INVALID_ARG_TYPE', () => device.exportDmaBuf({ region: 2, ranges: 7 as never }));
  });

  conforms('with memory space off it succeeds, revoked: mapping it is ENODEV until memory is on', async () => {
    const device = rig.device('ssd');
    device.command.memory = false;
    const exported = tryExport(2, 0n, page);
    await refuses('ENODEV', () => rig.ioas.mapDmaBuf(exported));
    device.command.memory = true;
    assert.equal(observe(rig.ioas.mapDmaBuf(exported, { iova: 0n }).state), 'live');
  });

  conforms('probing exports nothing', () =>
    assert.deepEqual(observe(rig.device('ssd').probe('DMA_BUF')), { get: true, set: false }),
  );
});

describe('a dma-buf of a closed device', () => {
  conforms('is dead: mapping it is ENODEV, its mappings are revoked and can be closed', async () => {
    using iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const device = await VfioDevice.open(addresses.ssd, { iommufd });
    using exported = device.exportDmaBuf({ region: 2, offset: 0n, length: page });
    const mapping = ioas.mapDmaBuf(exported, { iova: 0n });
    device.close();
    assert.equal(observe(mapping.state), 'revoked');
    await refuses('ENODEV', () => mapping.remap());
    await refuses('ENODEV', () => ioas.mapDmaBuf(exported));
    assert.equal(observe(exported.size), page);
    mapping.close();
    assert.equal(observe(mapping.state), 'closed');
    assert.equal(observe(ioas.unmap()), 0n);
  });

  conforms('opened anew, the device exports again, and the mapping takes the new buffer', async () => {
    using iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const first = await VfioDevice.open(addresses.ssd, { iommufd });
    using buffer = first.exportDmaBuf({ region: 2, offset: 0n, length: page });
    const mapping = ioas.mapDmaBuf(buffer, { iova: 0x1000n });
    first.close();
    using second = await VfioDevice.open(addresses.ssd, { iommufd });
    using again = second.exportDmaBuf({ region: 2, offset: 0n, length: page });
    mapping.remap(again);
    assert.equal(observe(mapping.state), 'live');
    assert.equal(observe(mapping.iova), 0x1000n);
    await second.reset();
    assert.equal(observe(mapping.state), 'revoked');
  });
});

describe('a kernel error', () => {
  const rig = useRig('ssd');

  conforms('says what was called, with what, and what to do', async () => {
    const caught = await refuses('EINVAL', () =>
      rig.device('ssd').exportDmaBuf({ region: 2, offset: 1n, length: page }),
    );
    assert(caught instanceof KernelError);
    observe(caught.name);
    assert.deepEqual(caught.args, { device: addresses.ssd, region: 2, offset: 1n, length: page, ranges: 1 });
    assert.match(caught.message, /VFIO_DEVICE_FEATURE_DMA_BUF.*page aligned/);
  });

  conforms('is an instance of nothing of the library’s when an argument is bad', () =>
    refuses('ERR_INVALID_ARG_TYPE', () => DmaBuf.fromFd('3' as unknown as number)),
  );
});
