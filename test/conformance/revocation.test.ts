// Revocation. A revoked mapping stays in the kernel's tables, but every DMA through it faults. Each case checks this
// with DMA before the revocation, after it, and after remap().
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { DmaBuf, DmaMemory, Iommufd, VfioDevice, type IoasMapping } from '../../lib';
import type { Edu } from '../../examples/edu';
import { conforms, observe, refuses } from './record';
import { addresses, barBytes, cmb, MiB, page, useRig } from './rig';

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
    ['reset, waiting', () => rig.device('ssd').resetSync()],
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
  /** The config space offset of the power management control register. */
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
  /** The config space offset of the ssd's PCI Express device control register. */
  const deviceControl = 0x88;
  causes.push(
    [
      'a function-level reset, written to config space',
      () => {
        const { config } = rig.device('ssd');
        config.write16(deviceControl, config.read16(deviceControl) | 0x8000);
      },
    ],
    ['the same in a write of four bytes', () => rig.device('ssd').config.write32(deviceControl, 0x8000)],
    [
      'low power, entered and left',
      async () => {
        await rig.device('ssd').enterLowPower();
        await rig.device('ssd').exitLowPower();
      },
    ],
    [
      'low power, waiting',
      () => {
        rig.device('ssd').enterLowPowerSync();
        rig.device('ssd').exitLowPowerSync();
      },
    ],
  );
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
    await refuses('ENODEV', () => peer.remap());
    device.config.write8(powerControl, 0);
    assert.equal(observe(registers.read32(8)), 0x10400);
    peer.remap();
    assert.equal(await reaches(peer), true);
  });

  conforms('while memory space is off, remap is ENODEV and can be tried again', async () => {
    rig.device('ssd').command.memory = false;
    assert.equal(observe(peer.state), 'revoked');
    await refuses('ENODEV', () => peer.remap());
    assert.equal(observe(peer.state), 'revoked');
    rig.device('ssd').command.memory = true;
    peer.remap();
    assert.equal(await reaches(peer), true);
  });

  conforms('a mapping whose remap failed can be closed, and its IOVAs are free', async () => {
    rig.device('ssd').command.memory = false;
    await refuses('ENODEV', () => peer.remap());
    peer.close();
    assert.equal(observe(peer.state), 'closed');
    await refuses('ERR_CLOSED', () => peer.remap());
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
    await refuses('ERR_OUT_OF_RANGE', () => peer.remap(short));
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
    await refuses('ERR_CLOSED', () => mapping.remap());
    assert.equal(observe(mapping.state), 'revoked');
    mapping.remap(rig.exported('ssd', cmb.region, page));
    assert.equal(await reaches(mapping), true);
  });

  conforms('by a hot reset, with or without waiting', async () => {
    const display = rig.device('display');
    const frame = rig.ioas.mapDmaBuf(rig.exported('display', 0, page), { iova: 0x2000_0000n });
    const shows = async () => {
      display.region(0).write(0, Buffer.alloc(length));
      await engine.copy(memory.iova, frame.iova, length);
      return observe(barBytes(display, 0, 0n, length).equals(memory.bytes.subarray(0, length)));
    };
    observe(display.hotResetInfo());
    assert.deepEqual(
      display.hotResetInfo().devices.map(({ address, foreign }) => [address, foreign]),
      [[display.address, false]],
    );
    for (const waiting of [false, true]) {
      assert.equal(await shows(), true);
      if (waiting) display.hotResetSync();
      else await display.hotReset();
      assert.equal(observe(frame.state), 'revoked');
      assert.equal(observe(peer.state), 'live');
      assert.equal(await shows(), false);
      frame.remap();
    }
    assert.equal(await shows(), true);
    assert.equal(await reaches(peer), true);
  });

  conforms(
    'in low power registers are ERR_MEMORY_DISABLED, mapping is ENODEV, and entering again is EINVAL',
    async () => {
      const device = rig.device('ssd');
      const registers = rig.keep(device.region(0).map());
      await device.enterLowPower();
      await refuses('ERR_MEMORY_DISABLED', () => registers.read32(8));
      await refuses('ENODEV', () => peer.remap());
      await refuses('EINVAL', () => device.enterLowPower());
      await device.exitLowPower();
      await device.exitLowPower();
      assert.equal(observe(registers.read32(8)), 0x10400);
      peer.remap();
      assert.equal(await reaches(peer), true);
    },
  );

  conforms('writes to config space that only look like a reset revoke nothing', async () => {
    const { config } = rig.device('ssd');
    config.write16(deviceControl, config.read16(deviceControl));
    config.write8(deviceControl + 2, 0x80);
    config.write8(powerControl, 0);
    config.write8(5, 0);
    assert.equal(observe(peer.state), 'live');
    const display = rig.ioas.mapDmaBuf(rig.exported('display', 0, page));
    // The display lacks function-level reset, so this has no effect.
    rig.device('display').config.write16(deviceControl, 0x8000);
    assert.equal(observe(display.state), 'live');
    assert.equal(await reaches(peer), true);
  });

  conforms('a reset revokes from its start on, before its promise resolves', async () => {
    const reset = rig.device('ssd').reset();
    assert.equal(observe(peer.state), 'revoked');
    await reset;
    assert.equal(observe(peer.state), 'revoked');
    assert.equal(await reaches(peer), false);
  });

  conforms('a refused reset revokes nothing', async () => {
    const unbound = rig.keep(await VfioDevice.open(addresses.ports));
    await refuses('EINVAL', () => unbound.reset());
    assert.equal(observe(peer.state), 'live');
    assert.equal(await reaches(peer), true);
  });

  conforms('by close of the exporter: dead for good, and mapping what it exported says so', async () => {
    const iommufd = rig.keep(Iommufd.open());
    const ports = await VfioDevice.open(addresses.ports, { iommufd });
    const other = rig.keep(await VfioDevice.open(addresses.ports));
    const buffer = rig.keep(ports.exportDmaBuf({ region: 0, offset: 0n, length: page }));
    const mapping = rig.ioas.mapDmaBuf(buffer);
    assert.equal(observe(mapping.state), 'live');
    ports.close();
    assert.equal(observe(mapping.state), 'revoked');
    const { message } = await refuses('ENODEV', () => rig.ioas.mapDmaBuf(buffer));
    assert.match(message, /dead/);
    // It stays invalid when the device is open again.
    await other.bind(iommufd);
    await refuses('ENODEV', () => rig.ioas.mapDmaBuf(buffer));
    assert.equal(observe(mapping.state), 'revoked');
  });

  conforms('a buffer that comes back as an fd is known again, also when the first object of it is closed', async () => {
    const buffer = rig.exported('ssd', cmb.region, page);
    const again = rig.keep(DmaBuf.fromFd(buffer.fd));
    buffer.close();
    const mapping = rig.ioas.mapDmaBuf(again);
    again.close();
    assert.equal(await reaches(mapping), true);
    rig.device('ssd').command.memory = false;
    rig.device('ssd').command.memory = true;
    assert.equal(observe(mapping.state), 'revoked');
  });

  describe('of copies', () => {
    conforms('a copy leads to the same memory, and a part of one to its part', async () => {
      const copy = rig.ioas.copySync(peer, { iova: 0x2000_0000n });
      observe([copy.iova, copy.length, copy.state]);
      assert.equal(await reaches(copy), true);
      const part = await rig.ioas.copy(peer, { iova: 0x3000_0000n, offset: 0x4000n, length: page });
      observe([part.iova, part.length, part.state]);
      assert.equal(await reaches(part, 0x4000n), true);
      const chosen = await rig.ioas.copy(peer);
      observe(chosen.iova);
      assert.equal(await reaches(chosen), true);
    });

    conforms('a copy is a mapping of its own', async () => {
      const copy = await rig.ioas.copy(peer, { iova: 0x2000_0000n });
      peer.close();
      assert.equal(await reaches(copy), true);
    });

    conforms('is revoked with the first, and each is mapped again by itself', async () => {
      const other = rig.keep(rig.iommufd.allocIoas());
      const copy = await rig.ioas.copy(peer, { iova: 0x2000_0000n, offset: 0x4000n });
      const elsewhere = await other.copy(peer);
      await rig.device('ssd').reset();
      const mappings = [peer, copy, elsewhere];
      assert.deepEqual(observe(mappings.map(({ state }) => state)), ['revoked', 'revoked', 'revoked']);
      assert.equal(await reaches(copy, 0x4000n), false);
      peer.remap();
      assert.deepEqual(observe(mappings.map(({ state }) => state)), ['live', 'revoked', 'revoked']);
      assert.equal(await reaches(copy, 0x4000n), false);
      copy.remap();
      assert.equal(await reaches(copy, 0x4000n), true);
    });

    conforms('a copy of a revoked mapping is as dead', async () => {
      await rig.device('ssd').reset();
      const copy = await rig.ioas.copy(peer, { iova: 0x2000_0000n });
      assert.equal(observe(copy.state), 'revoked');
      assert.equal(await reaches(copy), false);
      copy.remap();
      assert.equal(await reaches(copy), true);
    });

    conforms('of host memory, for reading only what is for reading only', async () => {
      const other = rig.keep(rig.iommufd.allocIoas());
      using host = DmaMemory.alloc(8192);
      const first = await other.mapMemory(host, { access: 'r' });
      await refuses('EPERM', () => rig.ioas.copy(first));
      const copy = await rig.ioas.copy(first, { iova: 0x2000_0000n, access: 'r' });
      first.close();
      Buffer.from(host.buffer).fill(0x5a);
      await engine.copy(copy.iova, peer.iova, length);
      assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0n, length), Buffer.alloc(length, 0x5a));
      await refuses('ERR_NOT_REMAPPABLE', () => copy.remap());
    });

    conforms('refuses what cannot be copied', async () => {
      await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.copy(peer, { length: peer.length + page }));
      await refuses('EEXIST', () => rig.ioas.copy(peer, { iova: peer.iova }));
      await refuses('EINVAL', () => rig.ioas.copy(peer, { iova: 0x2000_0800n }));
      using iommufd = Iommufd.open();
      await refuses('ERR_OTHER_IOMMUFD', () => iommufd.allocIoas().copy(peer));
      peer.close();
      await refuses('ERR_CLOSED', () => rig.ioas.copy(peer));
    });
  });

  describe('as an event', () => {
    /** Collects the events of an IOAS. */
    function listen(): string[] {
      const heard: string[] = [];
      rig.ioas.on('revoked', (mapping) => heard.push(`revoked 0x${mapping.iova.toString(16)}`));
      rig.ioas.on('restored', (mapping) => heard.push(`restored 0x${mapping.iova.toString(16)}`));
      rig.ioas.on('restoreFailed', (mapping) => heard.push(`restoreFailed 0x${mapping.iova.toString(16)}`));
      return heard;
    }

    conforms('says which mappings are revoked, once each', async () => {
      const heard = listen();
      rig.ioas.mapDmaBuf(rig.exported('display', 0, page));
      const second = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page), { iova: 0x2000_0000n });
      rig.device('ssd').command.memory = false;
      rig.device('ssd').command.memory = true;
      await rig.device('ssd').reset();
      await setImmediate();
      assert.deepEqual(observe(heard), ['revoked 0x10000000', 'revoked 0x20000000']);
      second.remap();
      await rig.device('ssd').reset();
      await setImmediate();
      assert.deepEqual(observe(heard.slice(2)), ['revoked 0x20000000']);
    });

    conforms('with autoRemap it is restored at its IOVA as soon as memory is on again', async () => {
      const heard = listen();
      const buffer = rig.exported('ssd', cmb.region, page, 0x4000n);
      const mapping = rig.ioas.mapDmaBuf(buffer, { iova: 0x2000_0000n, autoRemap: true });
      buffer.close();
      assert.equal(await reaches(mapping, 0x4000n), true);
      await rig.device('ssd').reset();
      assert.equal(observe(mapping.state), 'live');
      assert.equal(await reaches(mapping, 0x4000n), true);
      rig.device('ssd').command.memory = false;
      assert.equal(observe(mapping.state), 'revoked');
      rig.device('ssd').command.memory = true;
      assert.equal(observe(mapping.state), 'live');
      assert.equal(await reaches(mapping, 0x4000n), true);
      await rig.device('ssd').enterLowPower();
      assert.equal(observe(mapping.state), 'revoked');
      await rig.device('ssd').exitLowPower();
      assert.equal(await reaches(mapping, 0x4000n), true);
      assert.equal(observe(peer.state), 'revoked');
      await setImmediate();
      observe(heard);
    });

    conforms('a copy of a mapping with autoRemap is restored, too', async () => {
      const buffer = rig.exported('ssd', cmb.region, page);
      const mapping = rig.ioas.mapDmaBuf(buffer, { iova: 0x2000_0000n, autoRemap: true });
      const copy = await rig.ioas.copy(mapping, { iova: 0x3000_0000n });
      buffer.close();
      mapping.close();
      await rig.device('ssd').reset();
      assert.equal(observe(copy.state), 'live');
      assert.equal(await reaches(copy), true);
    });

    conforms('when its IOVAs are taken meanwhile, it says so, and tries again with the next change', async () => {
      const heard = listen();
      const mapping = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page), {
        iova: 0x2000_0000n,
        autoRemap: true,
      });
      rig.device('ssd').command.memory = false;
      // Another user of the same IOAS.
      await refuses('ENODEV', () => mapping.remap());
      const squatter = rig.ioas.mapDmaBuf(rig.exported('display', 0, page), { iova: 0x2000_0000n });
      rig.device('ssd').command.memory = true;
      assert.equal(observe(mapping.state), 'revoked');
      squatter.close();
      rig.device('ssd').command.memory = false;
      rig.device('ssd').command.memory = true;
      assert.equal(observe(mapping.state), 'live');
      assert.equal(await reaches(mapping), true);
      await setImmediate();
      assert.deepEqual(observe(heard.filter((event) => event.endsWith('0x20000000'))), [
        'revoked 0x20000000',
        'restoreFailed 0x20000000',
        'restored 0x20000000',
      ]);
    });

    conforms('a listener may close everything', async () => {
      rig.ioas.on('revoked', () => rig.ioas.unmap());
      const second = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page));
      await rig.device('ssd').reset();
      await setImmediate();
      observe([peer.state, second.state]);
      assert.equal(rig.ioas.mappings.length, 0);
    });
  });
});
