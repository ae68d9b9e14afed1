// A revoked mapping looks like any other to the kernel's tables, and every DMA through it faults. Each case proves it by
// DMA before, after, and after remap.
import assert from 'node:assert/strict';
import { VfioDevice, type IoasMapping } from '../../lib';
import type { Edu } from '../../examples/edu';
import { conforms, observe, refuses } from './record';
import { barBytes, cmb, MiB, page, useRig } from './rig';

const length = 256;

describe('revocation', () => {
  const rig = useRig('engine', 'ssd', 'display');
  let engine: Edu;
  let memory: { bytes: Buffer; iova: bigint };
  let peer: IoasMapping;

  beforeEach(async () => {
    engine = await rig.engine();
    memory = await rig.memory();
    peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, MiB), { iova: 0x1000_0000n });
  });

  /** Whether DMA through the mapping reaches the CMB. */
  async function reaches(mapping: IoasMapping, offset = 0n): Promise<boolean> {
    rig.device('ssd').region(cmb.region).write(offset, Buffer.alloc(length));
    await engine.copy(memory.iova, mapping.iova, length);
    return observe(barBytes(rig.device('ssd'), cmb.region, offset, length).equals(memory.bytes.subarray(0, length)));
  }

  const causes: [string, () => Promise<void> | void][] = [
    ['reset', () => rig.device('ssd').reset()],
    [
      'reset, waiting',
      () => {
        rig.device('ssd').resetSync();
      },
    ],
    [
      'memory space switched off and on',
      () => {
        rig.device('ssd').command.memory = false;
        rig.device('ssd').command.memory = true;
      },
    ],
    [
      'a write to config space that clears the memory bit',
      () => {
        const { config } = rig.device('ssd');
        const header = new Uint8Array(8);
        config.read(0, header);
        header[4] = 0;
        config.write(0, header);
        config.write16(4, 0x0103);
      },
    ],
  ];
  /** Where the power state of a device is in its config space. */
  const powerControl = 0x64;
  causes.push([
    'power state D3hot and back',
    () => {
      const { config } = rig.device('ssd');
      config.write8(powerControl, 3);
      observe(config.read8(powerControl));
      config.write8(powerControl, 0);
    },
  ]);
  for (const [cause, revoke] of causes) {
    conforms(`by ${cause}: DMA faults, and remap revives it`, async () => {
      assert.equal(await reaches(peer), true);
      await revoke();
      assert.equal(observe(peer.state), 'revoked');
      assert.equal(await reaches(peer), false);
      peer.remap();
      assert.equal(observe(peer.state), 'live');
      assert.equal(observe(peer.iova), 0x1000_0000n);
      assert.equal(await reaches(peer), true);
    });
  }

  conforms('in D3hot registers are ERR_MEMORY_DISABLED, and EIO through the kernel', async () => {
    const device = rig.device('ssd');
    const registers = rig.keep(device.region(0).map());
    device.config.write8(powerControl, 3);
    assert.equal(observe(peer.state), 'revoked');
    await refuses('ERR_MEMORY_DISABLED', () => registers.read32(8));
    await refuses('EIO', () => device.region(0).read32(8));
    await refuses('ENODEV', () => {
      peer.remap();
    });
    device.config.write8(powerControl, 0);
    assert.equal(observe(registers.read32(8)), 0x10400);
    peer.remap();
    assert.equal(await reaches(peer), true);
  });

  conforms('while memory space is off, remap is ENODEV and can be tried again', async () => {
    rig.device('ssd').command.memory = false;
    assert.equal(observe(peer.state), 'revoked');
    await refuses('ENODEV', () => {
      peer.remap();
    });
    assert.equal(observe(peer.state), 'revoked');
    rig.device('ssd').command.memory = true;
    peer.remap();
    assert.equal(await reaches(peer), true);
  });

  conforms('a mapping whose remap failed can be closed, and its IOVAs are free', async () => {
    rig.device('ssd').command.memory = false;
    await refuses('ENODEV', () => {
      peer.remap();
    });
    peer.close();
    assert.equal(observe(peer.state), 'closed');
    await refuses('ERR_CLOSED', () => {
      peer.remap();
    });
    rig.device('ssd').command.memory = true;
    observe(rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page), { iova: 0x1000_0000n }).state);
  });

  conforms('the revoked mapping still holds its IOVAs until it is closed', async () => {
    await rig.device('ssd').reset();
    await refuses('EEXIST', () => rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page), { iova: 0x1000_0000n }));
    peer.close();
    const fresh = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page), { iova: 0x1000_0000n });
    assert.equal(await reaches(fresh), true);
  });

  conforms('kills every mapping of every buffer of the device, in every IOAS, and no other', async () => {
    const other = rig.keep(rig.iommufd.allocIoas());
    const second = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page, 0x4000n));
    const elsewhere = other.mapDmaBuf(rig.exported('ssd', 0, page, 0x1000n));
    const display = rig.ioas.mapDmaBuf(rig.exported('display', 0, page));
    await rig.device('ssd').reset();
    observe([peer, second, elsewhere, display].map(({ state }) => state));
    assert.deepEqual(
      [peer, second, elsewhere, display].map(({ state }) => state),
      ['revoked', 'revoked', 'revoked', 'live'],
    );
    assert.equal(await reaches(second, 0x4000n), false);
    second.remap();
    assert.equal(await reaches(second, 0x4000n), true);
  });

  conforms('reaches mappings whose buffer is closed', async () => {
    const buffer = rig.exported('ssd', cmb.region, page);
    const mapping = rig.ioas.mapDmaBuf(buffer);
    buffer.close();
    assert.equal(await reaches(mapping), true);
    await rig.device('ssd').reset();
    assert.equal(observe(mapping.state), 'revoked');
    assert.equal(await reaches(mapping), false);
  });

  conforms('remap refuses a buffer that is too short, and undoes nothing', async () => {
    const short = rig.exported('ssd', cmb.region, page);
    await refuses('ERR_OUT_OF_RANGE', () => {
      peer.remap(short);
    });
    assert.equal(observe(peer.state), 'live');
    assert.equal(await reaches(peer), true);
  });

  conforms('by another object of the same device', async () => {
    const registers = rig.keep(rig.device('ssd').region(0).map());
    using other = await VfioDevice.open(rig.device('ssd').fd);
    using others = other.region(0).map();
    assert.equal(observe(others.read32(8)), 0x10400);
    other.command.memory = false;
    assert.equal(observe(peer.state), 'revoked');
    await refuses('ERR_MEMORY_DISABLED', () => registers.read32(8));
    other.command.memory = true;
    assert.equal(observe(registers.read32(8)), 0x10400);
    peer.remap();
    other.close();
    assert.equal(observe(peer.state), 'live');
    assert.equal(await reaches(peer), true);
  });

  conforms('a new mapping of the same buffer works after the reset, without remap', async () => {
    const buffer = rig.exported('ssd', cmb.region, page);
    rig.ioas.mapDmaBuf(buffer, { iova: 0x2000_0000n });
    await rig.device('ssd').reset();
    const fresh = rig.ioas.mapDmaBuf(buffer, { iova: 0x3000_0000n });
    assert.equal(await reaches(fresh), true);
  });

  conforms('switching memory on that is on revokes nothing', async () => {
    rig.device('ssd').command.memory = true;
    rig.device('ssd').command.busMaster = true;
    assert.equal(observe(peer.state), 'live');
    assert.equal(await reaches(peer), true);
  });

  conforms('the importer’s own reset revokes nothing', async () => {
    await rig.device('engine').reset();
    rig.device('engine').command.busMaster = true;
    assert.equal(observe(peer.state), 'live');
    assert.equal(await reaches(peer), true);
  });

  conforms('remap of a live mapping is harmless', async () => {
    peer.remap();
    assert.equal(await reaches(peer), true);
  });

  conforms('remap needs the buffer: closed, it is ERR_CLOSED, and another can take its place', async () => {
    const buffer = rig.exported('ssd', cmb.region, page);
    const mapping = rig.ioas.mapDmaBuf(buffer);
    buffer.close();
    await rig.device('ssd').reset();
    await refuses('ERR_CLOSED', () => {
      mapping.remap();
    });
    assert.equal(observe(mapping.state), 'revoked');
    mapping.remap(rig.exported('ssd', cmb.region, page));
    assert.equal(await reaches(mapping), true);
  });
});
