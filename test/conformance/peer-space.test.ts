// PeerSpace: one address space for several devices, shared ranges that are restored after a reset, and the order of
// closing.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { bindToVfio, PeerSpace, unbindFromVfio } from '../../lib';
import { Edu } from '../../examples/edu';
import { openFds } from './fds';
import { conforms, conformsOnlyOn, observe, refuses, report } from './record';
import { addresses, barBytes, cmb, MiB, page, vram } from './rig';

const { ssd, display, disk, engine } = addresses;

describe('a peer space', () => {
  let space: PeerSpace | undefined;
  const open = async (...devices: string[]) => {
    space = await PeerSpace.open({ devices });
    space.on('restoreFailed', (_, error) => report(error));
    return space;
  };
  afterEach(async () => {
    await space?.close();
    space = undefined;
  });

  conforms('what one shares, the others reach', async () => {
    const peers = await open(ssd, display, engine);
    assert.deepEqual(observe(peers.devices.map(({ address }) => address)), [ssd, display, engine]);
    const share = peers.share(ssd, { region: cmb.region, offset: MiB, length: 4 * Number(page) });
    const window = peers.share(peers.device(display), { region: vram.region }, { iova: 0x4000_0000n });
    assert.deepEqual(observe([share.offset, share.length, share.state]), [MiB, 4n * page, 'live']);
    assert.deepEqual(observe([window.iova, window.length]), [0x4000_0000n, vram.size]);
    assert.equal(observe(peers.shares.length), 2);
    const memory = await peers.memory(8192);
    const bytes = Buffer.from(memory.buffer);
    randomFillSync(bytes);
    const dma = new Edu(peers.device(engine));
    await dma.copy(memory.iova, share.iova + page, 2048);
    await dma.copy(share.iova + page, window.iova, 2048);
    assert.deepEqual(barBytes(peers.device(display), vram.region, 0n, 2048), bytes.subarray(0, 2048));
    window.close();
    assert.equal(observe(window.state), 'closed');
    assert.equal(observe(peers.shares.length), 1);
    observe(peers.path(ssd, display).verdict);
  });

  conforms('a reset restores what is shared', async () => {
    const peers = await open(ssd, engine);
    const share = peers.share(ssd, { region: cmb.region, length: MiB });
    const other = peers.share(ssd, { region: cmb.region, offset: 2n * MiB, length: MiB });
    const { iova } = share;
    const heard: string[] = [];
    peers.on('revoked', (which) => heard.push(`revoked ${String(which === share || which === other)}`));
    peers.on('restored', (which) => heard.push(`restored ${String(which === share || which === other)}`));
    await peers.reset(ssd);
    assert.deepEqual(observe([share.state, other.state, share.iova === iova]), ['live', 'live', true]);
    const memory = await peers.memory(4096);
    randomFillSync(Buffer.from(memory.buffer));
    await new Edu(peers.device(engine)).copy(memory.iova, iova, 1024);
    assert.deepEqual(barBytes(peers.device(ssd), cmb.region, 0n, 1024), Buffer.from(memory.buffer, 0, 1024));
    assert.deepEqual(observe(heard.sort()), ['restored true', 'restored true', 'revoked true', 'revoked true']);
    const { command } = peers.device(ssd);
    assert.deepEqual(observe([command.memory, command.busMaster]), [true, true]);
  });

  conforms('closes everything, also when opening fails half-way', async () => {
    const before = openFds();
    const peers = await open(ssd, engine);
    peers.share(ssd, { region: cmb.region, length: MiB });
    const { memory } = await peers.memory(4096);
    await peers.close();
    await peers.close();
    assert.deepEqual(observe([peers.closed, memory.closed]), [true, true]);
    await refuses('ERR_CLOSED', () => peers.share(ssd, { region: cmb.region }));
    await refuses('ERR_CLOSED', () => peers.memory(4096));
    await refuses('ERR_CLOSED', () => peers.reset(ssd));
    await refuses('ERR_NO_SUCH_DEVICE', () => PeerSpace.open({ devices: [ssd, '0000:7f:00.0'] }));
    assert.equal(openFds(), before);
    await open(ssd);
  });

  conformsOnlyOn(
    'system',
    "the fake's drivers stay as they are",
    'takes a device from its driver, and gives it back',
    async () => {
      const driver = () => basename(readlinkSync(`/sys/bus/pci/devices/${disk}/driver`));
      unbindFromVfio(disk);
      try {
        assert.equal(observe(driver()), 'nvme');
        await refuses('ERR_NOT_BOUND_TO_VFIO', () => PeerSpace.open({ devices: [disk] }));
        space = await PeerSpace.open({ devices: [disk, engine], bind: true });
        assert.equal(observe(driver()), 'vfio-pci');
        await space.close();
        assert.equal(observe(driver()), 'nvme');
        bindToVfio(disk); // as another process would
        await space.close();
        assert.equal(observe(driver()), 'vfio-pci');
        unbindFromVfio(disk);
        await refuses('ERR_NO_SUCH_DEVICE', () => PeerSpace.open({ devices: [disk, '7f:00.0'], bind: true }));
        assert.equal(observe(driver()), 'nvme');
      } finally {
        bindToVfio(disk);
      }
    },
  );

  conforms('of nothing, and of what it does not have', async () => {
    await refuses('ERR_OUT_OF_RANGE', () => PeerSpace.open({ devices: [] }));
    await refuses('ERR_INVALID_ARG_TYPE', () => PeerSpace.open({ devices: ssd as never }));
    await refuses('ERR_INVALID_ARG_TYPE', () => PeerSpace.open({ devices: [{} as never] }));
    await refuses('ERR_INVALID_ARG_TYPE', () => PeerSpace.open({ devices: [ssd], bind: 1 as never }));
    const peers = await open(ssd);
    assert.equal(peers.device('01:00.0'), peers.devices[0]);
    await refuses('ERR_OUT_OF_RANGE', () => peers.device(display));
    await refuses('EINVAL', () => peers.share(ssd, { region: 17 }));
    await refuses('EINVAL', () => peers.share(ssd, { region: cmb.region, length: 100 }));
    await refuses('EEXIST', () => {
      peers.share(ssd, { region: cmb.region, length: MiB }, { iova: 0x100_0000n });
      peers.share(ssd, { region: cmb.region, length: MiB }, { iova: 0x100_0000n });
    });
    assert.equal(observe(peers.shares.length), 1);
  });
});
