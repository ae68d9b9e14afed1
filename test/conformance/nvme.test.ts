// The ranges that an NVMe controller can share, and drives that read into each other's memory.
import assert from 'node:assert/strict';
import { NvmeController, videoMemory } from '../../lib';
import { NvmeDrive } from '../../examples/nvme-drive';
import { conforms, endsWith, observe, refuses } from './record';
import { barBytes, cmb, MiB, page, useRig, vram } from './rig';

describe('NVMe', () => {
  const rig = useRig('ssd', 'disk', 'display', 'engine', 'physical');
  const controller = (role: 'ssd' | 'disk' | 'display' | 'physical') => rig.keep(new NvmeController(rig.device(role)));
  const start = async (role: 'ssd' | 'disk') => {
    const device = rig.device(role);
    await device.attach(rig.ioas);
    const drive = await NvmeDrive.start(device, rig.ioas);
    rig.keep({
      close: () => {
        device.resetSync(); // it has IOVAs that others will reuse
        drive.close();
      },
    });
    return drive;
  };

  conforms('what a controller tells of itself', () => {
    const { version, capabilities } = controller('ssd');
    assert.deepEqual(observe([version, capabilities.doorbellStride, capabilities.minimumPageSize]), ['1.4.0', 4, 4096]);
    observe(capabilities);
    observe(controller('physical').capabilities);
  });

  conforms('a CMB that is there, one that has to be enabled, and none', async () => {
    const ssd = controller('ssd');
    const disk = controller('disk');
    const { region, size } = cmb;
    const { submissionQueues, completionQueues, ...rest } = ssd.cmb ?? assert.fail('no CMB');
    assert.deepEqual(observe([submissionQueues, completionQueues]), [true, false]);
    assert.deepEqual(rest, { region, offset: 0n, length: size, lists: true, readData: true, writeData: true });
    disk.registers.write32(0x50, 0); // Linux's own driver may have enabled the CMB; a reset keeps it
    assert.equal(observe(disk.cmb), undefined);
    assert.deepEqual(observe(disk.enableCmb()), ssd.cmb);
    assert.deepEqual(disk.cmb, ssd.cmb);
    observe(disk.enableCmb({ controllerAddress: 0x40_0000_0000n }));
    assert.equal(observe(disk.registers.read64(0x50)), 0x40_0000_0003n);
    const control = [disk.registers.read32(0x50), disk.registers.read32(0x54)];
    disk.enableCmb();
    assert.deepEqual(observe([disk.registers.read32(0x50), disk.registers.read32(0x54)]), control);
    await refuses('ERR_OUT_OF_RANGE', () => disk.enableCmb({ controllerAddress: 0x800 }));
    await refuses('ERR_CMB_ADDRESS', () => disk.enableCmb({ controllerAddress: 0xffff_ffff_ffff_f000n }));
    disk.registers.write32(0x50, 0);
    assert.equal(observe(disk.cmb), undefined);
    const without = controller('physical');
    assert.equal(observe(without.cmb), undefined);
    await refuses('ERR_NO_CMB', () => without.enableCmb());
  });

  conforms('doorbells, in pages without the MSI-X table', async () => {
    const ssd = controller('ssd');
    assert.deepEqual(observe(ssd.doorbell(0, 'submission')), { region: 0, offset: 0x1000n, length: 4n });
    assert.deepEqual(observe(ssd.doorbell(3, 'completion')), { region: 0, offset: 0x101cn, length: 4n });
    assert.deepEqual(observe(ssd.doorbells()), { region: 0, offset: 0x1000n, length: page });
    assert.deepEqual(observe(ssd.doorbells(511)), { region: 0, offset: 0x1000n, length: page });
    await refuses('ERR_NOT_EXPORTABLE', () => ssd.doorbells(512));
    await refuses('ERR_OUT_OF_RANGE', () => ssd.doorbell(2000, 'submission'));
    await refuses('ERR_OUT_OF_RANGE', () => ssd.doorbell(65536, 'submission'));
    await refuses('ERR_OUT_OF_RANGE', () => ssd.doorbell(0, 'both' as 'completion'));
    const exported = rig.keep(rig.device('ssd').exportDmaBuf(ssd.doorbells()));
    assert.equal(observe(exported.size), page);
  });

  conforms('of another kind of device', async () => {
    await refuses('ERR_NOT_NVME', () => new NvmeController(rig.device('display')));
    await refuses('ERR_INVALID_ARG_TYPE', () => new NvmeController({} as never));
    const closed = new NvmeController(rig.device('ssd'));
    closed.close();
    closed.close();
    await refuses('ERR_CLOSED', () => closed.version);
  });

  conforms("a drive reads into another's CMB, and writes from there", async () => {
    const disk = await start('disk');
    const memory = await rig.memory(0x8000);
    const { iova } = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, MiB));
    await disk.write(5n, 64, memory.iova);
    await disk.read(5n, 64, iova + 0x1000n);
    assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0x1000n, 0x8000), memory.bytes);
    await disk.write(500n, 64, iova + 0x1000n);
    const copy = await rig.memory(0x8000);
    await disk.read(500n, 64, copy.iova);
    assert.deepEqual(copy.bytes, memory.bytes);
    assert.deepEqual(observe([disk.blocks, disk.blockSize]), [131_072n, 512]);
    const beyond = { name: 'Error', message: "the drive's status is 0x80" };
    await endsWith(beyond, () => disk.read(131_072n, 1, memory.iova));
  });

  conforms('a peer rings a doorbell', async () => {
    const drive = await start('ssd');
    const engine = await rig.engine();
    const memory = await rig.memory();
    await drive.write(9n, 8, memory.iova);
    const sent = Buffer.from(memory.bytes.subarray(0, 4096));
    const { iova } = rig.ioas.mapDmaBuf(rig.keep(rig.device('ssd').exportDmaBuf(drive.controller.doorbells(1))));
    memory.bytes.fill(0);
    const { value, done } = drive.prepare('read', 9n, 8, memory.iova);
    memory.bytes.writeUInt32LE(value, 4096);
    await engine.load(memory.iova + 4096n, 4);
    await engine.store(iova + 8n, 4);
    await done();
    assert.deepEqual(memory.bytes.subarray(0, 4096), sent);
  });

  conforms('a reset takes a drive out of service, and it can be taken back', async () => {
    const first = await start('disk');
    const memory = await rig.memory();
    await first.write(0n, 8, memory.iova);
    await rig.device('disk').reset();
    assert.equal(observe(first.controller.registers.read32(0x1c) & 1), 0);
    first.close();
    const again = await start('disk');
    const copy = await rig.memory();
    await again.read(0n, 8, copy.iova);
    assert.deepEqual(copy.bytes.subarray(0, 4096), memory.bytes.subarray(0, 4096));
  });

  conforms('video memory', async () => {
    const region = videoMemory(rig.device('display'));
    assert.deepEqual(observe([region.index, region.size]), [vram.region, vram.size]);
    await refuses('ERR_NO_VIDEO_MEMORY', () => videoMemory(rig.device('ssd')));
    await refuses('ERR_INVALID_ARG_TYPE', () => videoMemory({} as never));
  });
});
