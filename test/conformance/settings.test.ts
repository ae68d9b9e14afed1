// Options of an iommufd and of its IOASes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Edu } from '../../examples/edu';
import { DmaMemory, Iommufd, VfioDevice } from '../../lib';
import { typescript } from '../typescript';
import { MockDevice, mockAperture } from './mock';
import { conforms, conformsOnlyOn, observe, refuses } from './record';
import { addresses, cmb, MiB, page, useRig, vram } from './rig';

function asNobody(...args: string[]): string {
  const program = [process.execPath, ...typescript, join(__dirname, 'as-nobody.ts'), ...args];
  const child = spawnSync('prlimit', ['--memlock=1048576', ...program], { encoding: 'utf8' });
  assert.equal(child.status, 0, child.stderr);
  return child.stdout;
}

describe('large pages', () => {
  const rig = useRig('engine', 'ssd');
  const set = (enable: boolean) => () => {
    rig.ioas.hugePages = enable;
  };

  conforms('are used unless they are switched off, and then everything must be in whole pages', () => {
    assert.equal(observe(rig.ioas.hugePages), true);
    rig.ioas.hugePages = false;
    rig.ioas.hugePages = false;
    assert.equal(observe(rig.ioas.hugePages), false);
    assert.equal(observe(rig.ioas.iovaRanges()).alignment, page);
    rig.ioas.hugePages = true;
    assert.equal(observe(rig.ioas.iovaRanges()).alignment, 1n);
  });

  conforms('can be switched off with a device or with mappings, and not with both', async () => {
    const memory = rig.keep(DmaMemory.alloc(8192));
    await rig.ioas.mapMemory(memory);
    set(false)();
    set(true)();
    await rig.device('engine').attach(rig.ioas);
    await refuses('EINVAL', set(false));
    assert.equal(observe(rig.ioas.hugePages), true);
    rig.ioas.unmap();
    set(false)();
    await rig.ioas.mapMemory(memory);
    set(true)();
  });

  conforms('cannot be switched off when a mapping is not in whole pages', async () => {
    const memory = rig.keep(DmaMemory.alloc(8192));
    rig.ioas.mapMemorySync(memory, { iova: 1024n, length: 1024n });
    await refuses('EADDRINUSE', set(false));
    assert.equal(observe(rig.ioas.hugePages), true);
  });

  conforms('make no difference to DMA', async () => {
    rig.ioas.hugePages = false;
    const engine = await rig.engine();
    const { bytes, iova } = await rig.memory();
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, MiB));
    await engine.copy(iova, peer.iova + page, 256);
    const seen = Buffer.alloc(256);
    rig.device('ssd').region(cmb.region).read(page, seen);
    assert.deepEqual(seen, bytes.subarray(0, 256));
  });
});

describe('allowed IOVAs', () => {
  const rig = useRig('engine');
  const map = (iova?: bigint) => rig.ioas.mapMemorySync(rig.keep(DmaMemory.alloc(4096)), { iova }).iova;

  conforms('are where the kernel chooses, lowest first, and the caller need not', async () => {
    rig.ioas.allowIovas([
      { start: 0x4000_0000n, last: 0x4000_0fffn },
      { start: 0x2000_0000, last: 0x2000_1fff },
    ]);
    assert.deepEqual(observe([map(), map(), map()]), [0x2000_0000n, 0x2000_1000n, 0x4000_0000n]);
    await refuses('ENOSPC', map);
    observe(map(0x1000n));
    rig.ioas.allowIovas([{ start: 0x5000_0000n, last: 0x5000_ffffn }]);
    assert.equal(observe(map()), 0x5000_0000n);
    rig.ioas.allowIovas([]);
    observe(map());
  });

  conforms('may touch, and one mapping lie in both', () => {
    rig.ioas.allowIovas([
      { start: 0x2000_1000n, last: 0x2000_1fffn },
      { start: 0x2000_0000n, last: 0x2000_0fffn },
    ]);
    const memory = rig.keep(DmaMemory.alloc(8192));
    assert.equal(observe(rig.ioas.mapMemorySync(memory).iova), 0x2000_0000n);
  });

  conforms('cannot overlap, nor be a single byte, nor run backwards: EINVAL', async () => {
    const [a, b] = [
      { start: 0x1000n, last: 0x2fffn },
      { start: 0x2000n, last: 0x3fffn },
    ];
    await refuses('EINVAL', () => rig.ioas.allowIovas([a, b]));
    await refuses('EINVAL', () => rig.ioas.allowIovas([{ start: 0x1000n, last: 0x1000n }]));
    await refuses('EINVAL', () => rig.ioas.allowIovas([{ start: 0x2000n, last: 0x1000n }]));
    observe(map());
  });

  conforms('cannot be what an attached device reserves: EADDRINUSE', async () => {
    await rig.device('engine').attach(rig.ioas);
    await refuses('EADDRINUSE', () => rig.ioas.allowIovas([{ start: 0xfee0_0000n, last: 0xfeef_ffffn }]));
    await refuses('EADDRINUSE', () => rig.ioas.allowIovas([{ start: 0x1000n, last: 0xffff_ffff_ffffn }]));
    rig.ioas.allowIovas([{ start: 0x1000n, last: 0xfedf_ffffn }]);
    observe(map());
  });

  conforms('keep a device away that reserves some of them', async () => {
    rig.ioas.allowIovas([{ start: 0xfee0_0000n, last: 0xfeef_ffffn }]);
    await refuses('EADDRINUSE', () => rig.device('engine').attach(rig.ioas));
    await refuses('EADDRINUSE', () => MockDevice.attach(rig.ioas));
    const mock = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas())));
    await refuses('EADDRINUSE', () => rig.ioas.allocHwpt(mock));
    rig.ioas.allowIovas([{ start: mockAperture.start, last: mockAperture.last }]);
    rig.keep(rig.ioas.allocHwptSync(mock));
    await rig.device('engine').attach(rig.ioas);
  });

  conforms('are checked before the kernel sees them', async () => {
    await refuses('ERR_INVALID_ARG_TYPE', () => rig.ioas.allowIovas(undefined as never));
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.allowIovas([{ start: -1n, last: 1n }]));
    await refuses('ERR_OUT_OF_RANGE', () =>
      rig.ioas.allowIovas(Array.from({ length: 65537 }, (_, i) => ({ start: 4096 * i, last: 4096 * i + 1 }))),
    );
  });
});

describe('the limit of locked memory', () => {
  conforms('is the user’s, or the process’s if that is chosen first', () => {
    using iommufd = Iommufd.open();
    assert.equal(observe(iommufd.rlimitMode), 'user');
    iommufd.rlimitMode = 'process';
    assert.equal(observe(iommufd.rlimitMode), 'process');
    iommufd.rlimitMode = 'user';
    assert.equal(observe(iommufd.rlimitMode), 'user');
    iommufd.rlimitMode = 'process';
    using memory = DmaMemory.alloc(4096);
    iommufd.allocIoas().mapMemorySync(memory);
    assert.equal(observe(iommufd.rlimitMode), 'process');
  });

  conforms('is fixed by the first object: EBUSY', async () => {
    using iommufd = Iommufd.open();
    const choose = () => {
      iommufd.rlimitMode = 'process';
    };
    const ioas = iommufd.allocIoas();
    await refuses('EBUSY', choose);
    ioas.close();
    choose();
    const device = await VfioDevice.open(addresses.engine, { iommufd });
    await refuses('EBUSY', choose);
    device.close();
    choose();
    await refuses('ERR_OUT_OF_RANGE', () => {
      iommufd.rlimitMode = 'group' as never;
    });
  });

  conforms('of a process can be had with a device, too', async () => {
    using iommufd = Iommufd.open();
    iommufd.rlimitMode = 'process';
    const ioas = iommufd.allocIoas();
    const device = await VfioDevice.open(addresses.engine, { iommufd });
    await device.attach(ioas);
    using memory = DmaMemory.alloc(4096);
    const { iova } = await ioas.mapMemory(memory);
    await new Edu(device).load(iova, 64);
    observe(ioas.unmap());
  });
});

describe('the limit of locked memory, without rights', () => {
  conformsOnlyOn('system', 'the fake kernel has no users', 'is not chosen: EPERM', () => {
    const { code, hint } = JSON.parse(asNobody('rlimit')) as { code: string; hint: string };
    assert.equal(observe(code), 'EPERM');
    assert.match(hint, /CAP_SYS_RESOURCE/);
  });
});

describe('the IOAS of VFIO’s older interface', () => {
  const rig = useRig();

  conforms('is none, one that is chosen, and none again', () => {
    assert.equal(observe(rig.iommufd.getVfioIoas()), undefined);
    rig.iommufd.setVfioIoas(rig.ioas);
    assert.equal(observe(rig.iommufd.getVfioIoas()), rig.ioas.id);
    const other = rig.keep(rig.iommufd.allocIoas());
    rig.iommufd.setVfioIoas(other);
    assert.equal(observe(rig.iommufd.getVfioIoas()), other.id);
    rig.iommufd.setVfioIoas(undefined);
    rig.iommufd.setVfioIoas(undefined);
    assert.equal(observe(rig.iommufd.getVfioIoas()), undefined);
  });

  conforms('is none when that is destroyed', () => {
    const ioas = rig.iommufd.allocIoas();
    rig.iommufd.setVfioIoas(ioas);
    ioas.close();
    assert.equal(observe(rig.iommufd.getVfioIoas()), undefined);
  });

  conforms('is one of the same iommufd', async () => {
    using other = Iommufd.open();
    const ioas = other.allocIoas();
    await refuses('ERR_OTHER_IOMMUFD', () => rig.iommufd.setVfioIoas(ioas));
    await refuses('ERR_INVALID_ARG_TYPE', () => rig.iommufd.setVfioIoas(1 as never));
    ioas.close();
    await refuses('ERR_CLOSED', () => other.setVfioIoas(ioas));
  });
});

describe('an iommufd that is handed over', () => {
  const rig = useRig('display', 'ssd');

  conforms('charges this process for what is mapped: nothing, or memfds', async () => {
    rig.iommufd.changeProcess();
    await rig.device('ssd').attach(rig.ioas);
    const { bytes } = await rig.memory();
    rig.iommufd.changeProcess();
    assert.equal(observe(bytes.length), 8192);
  });

  conforms('not with a dma-buf mapped, wherever: EINVAL', async () => {
    const other = rig.keep(rig.iommufd.allocIoas());
    await rig.memory();
    const peer = other.mapDmaBuf(rig.exported('display', vram.region, MiB));
    await refuses('EINVAL', () => rig.iommufd.changeProcess());
    peer.close();
    rig.iommufd.changeProcess();
  });

  conforms('gives its IOASes by number', async () => {
    const first = rig.keep(Iommufd.open());
    using copy = Iommufd.fromFd(first.fd);
    const ioas = first.allocIoas();
    const device = await VfioDevice.open(addresses.engine, { iommufd: first });
    const adopted = copy.adoptIoas(ioas.id);
    assert.equal(adopted.id, ioas.id);
    ioas.mapMemorySync(rig.keep(DmaMemory.alloc(8192)), { iova: 0n });
    assert.equal(observe(adopted.unmap(0n, 8192n)), 8192n);
    await refuses('ERR_IN_USE', () => copy.adoptIoas(ioas.id));
    await refuses('ERR_IN_USE', () => first.adoptIoas(ioas.id));
    adopted.close();
    await refuses('ENOENT', () => ioas.iovaRanges());
    await refuses('ENOENT', () => copy.adoptIoas(ioas.id));
    await refuses('ENOENT', () => copy.adoptIoas(device.id ?? 0));
    await refuses('ENOENT', () => copy.adoptIoas(0x7fff_ffff));
    await refuses('ENOENT', () => first.close());
  });

  conformsOnlyOn(
    'system',
    'a fake kernel is of one process',
    'is charged to the process that takes it over, and can be used there',
    () => {
      // Not as root: memory that a process with CAP_IPC_LOCK pins is not accounted.
      const child = asNobody('hand-over', addresses.engine);
      assert.deepEqual(observe(JSON.parse(child)), {
        before: 64,
        after: 0,
        heir: { before: 0, taken: 64, unmapped: 0x10000, left: 0 },
      });
    },
  );

  conforms('throws ERR_CLOSED from everything after close', async () => {
    const iommufd = Iommufd.open();
    iommufd.close();
    for (const call of [
      () => iommufd.rlimitMode,
      () => {
        iommufd.rlimitMode = 'user';
      },
      () => iommufd.changeProcess(),
      () => iommufd.getVfioIoas(),
      () => iommufd.setVfioIoas(undefined),
      () => iommufd.adoptIoas(1),
      () => iommufd.hwInfo({ iommufd, id: 1 }),
    ]) {
      await refuses('ERR_CLOSED', call);
    }
    const ioas = rig.iommufd.allocIoas();
    ioas.close();
    for (const call of [
      () => ioas.hugePages,
      () => {
        ioas.hugePages = true;
      },
      () => ioas.allowIovas([]),
      () => ioas.noiommuPhysical(0n, 4096n),
      () => ioas.allocHwpt(rig.device('ssd')),
      () => ioas.allocHwptSync(rig.device('ssd')),
    ]) {
      await refuses('ERR_CLOSED', call);
    }
  });
});

describe('bus addresses', () => {
  const rig = useRig('engine');

  conforms('are not told where there is an IOMMU', async () => {
    await rig.device('engine').attach(rig.ioas);
    const { iova } = await rig.memory();
    await refuses('EOPNOTSUPP', () => rig.ioas.noiommuPhysical(iova, page));
    await refuses('EOPNOTSUPP', () => rig.ioas.noiommuPhysical(0x4000_0000, 1));
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.noiommuPhysical(iova, 0));
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.noiommuPhysical(0xffff_ffff_ffff_ffffn, 1n));
  });
});
