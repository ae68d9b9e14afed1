// Regions: reads, writes and mappings.
import assert from 'node:assert/strict';
import { conforms, observe, refuses } from './record';
import { cmb, useRig, vram } from './rig';

describe('a region, through the kernel', () => {
  const rig = useRig('engine', 'ssd', 'display', 'ports');
  const bar0 = () => rig.device('engine').region(0);

  conforms('reads registers', () => {
    assert.equal(observe(bar0().read32(0x00)), 0x0100_00ed);
    observe(rig.device('ssd').region(0).read64(0));
    observe(rig.device('ssd').region(0).read32(8));
    observe([0x38, 0x3c].map((offset) => rig.device('ssd').region(0).read32(offset)));
    observe(rig.device('display').region(2).read16(0x500));
    observe(rig.device('display').region(2).read16(0x514));
  });

  conforms('writes registers', () => {
    bar0().write32(0x04, 0x1234_5678);
    assert.equal(observe(bar0().read32(0x04)), 0xedcb_a987);
    bar0().write64(0x80, 0x1122_3344_5566_7788n);
    assert.equal(observe(bar0().read64(0x80)), 0x1122_3344_5566_7788n);
  });

  conforms('accesses narrower than a register are the device’s own affair', () => {
    observe([bar0().read8(0), bar0().read16(0), bar0().read64(0)]);
    bar0().write32(0x04, 0);
    bar0().write8(0x04, 0xff);
    observe(bar0().read32(0x04));
  });

  conforms('moves bytes, fewer at the end', () => {
    const region = rig.device('ssd').region(cmb.region);
    const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i * 7);
    assert.equal(observe(region.write(123n, bytes)), 1000);
    const back = new Uint8Array(1000);
    assert.equal(observe(region.read(123, back)), 1000);
    assert.deepEqual(back, bytes);
    assert.equal(observe(region.read(cmb.size - 10n, back)), 10);
    assert.equal(observe(region.write(cmb.size - 10n, bytes)), 10);
  });

  conforms('past the end: EINVAL', async () => {
    await refuses('EINVAL', () => bar0().read(0x10_0000, new Uint8Array(4)));
    await refuses('EINVAL', () => bar0().write(0x10_0000, new Uint8Array(4)));
    await refuses('EINVAL', () => rig.device('engine').region(2).read(0, new Uint8Array(4)));
  });

  conforms('registers must be inside, and values must fit', async () => {
    await refuses('ERR_OUT_OF_RANGE', () => bar0().read32(0xf_fffe));
    await refuses('ERR_OUT_OF_RANGE', () => bar0().read8(-1));
    await refuses('ERR_OUT_OF_RANGE', () => bar0().write8(0, 256));
    await refuses('ERR_INVALID_ARG_TYPE', () => bar0().write32(0, '1' as unknown as number));
  });

  conforms('config space past its end: EFAULT', async () => {
    await refuses('EFAULT', () => rig.device('engine').config.read(0xfe, new Uint8Array(4)));
    await refuses('EFAULT', () => rig.device('engine').config.read(0x100, new Uint8Array(1)));
  });

  conforms('config space: which bits can be written', () => {
    const { config } = rig.device('engine');
    for (const offset of [0x00, 0x08, 0x0c, 0x0d, 0x2c, 0x34, 0x3c, 0x3d]) {
      const before = config.read8(offset);
      config.write8(offset, 0xa5);
      observe([offset, config.read8(offset)]);
      config.write8(offset, before);
    }
  });

  conforms('config space: BARs tell their size', () => {
    for (const role of ['engine', 'ssd', 'display', 'ports'] as const) {
      const { config } = rig.device(role);
      for (let offset = 0x10; offset < 0x28; offset += 4) {
        const before = config.read32(offset);
        config.write32(offset, 0xffff_ffff);
        observe([role, offset, config.read32(offset)]);
        config.write32(offset, before);
      }
    }
  });

  conforms('an MSI-X table cannot be reached: reads give ones', () => {
    const region = rig.device('ssd').region(0);
    observe([region.read32(0x1ffc), region.read32(0x2000), region.read64(0x2408), region.read32(0x2410)]);
    region.write32(0x2000, 0);
    assert.equal(observe(region.read32(0x2000)), 0xffff_ffff);
  });

  conforms('I/O ports', () => {
    const region = rig.device('ports').region(1);
    assert.deepEqual(observe(region.flags), { read: true, write: true, mmap: false });
    observe(region.read32(0));
    region.write8(0x10, 0);
  });

  conforms('with memory space off: EIO, but not for config space and I/O ports', async () => {
    const device = rig.device('ports');
    device.command.memory = false;
    await refuses('EIO', () => device.region(0).read32(0));
    await refuses('EIO', () => device.region(0).write32(0, 0));
    observe(device.region(1).read32(0));
    observe(device.config.read16(0));
    device.command.memory = true;
    observe(device.region(0).read32(0));
  });

  conforms('the ROM can be read, not written', async () => {
    const rom = rig.device('display').region(6);
    observe([rom.size, rom.flags]);
    await refuses('EINVAL', () => rom.write32(0, 0));
  });
});

describe('a mapped region', () => {
  const rig = useRig('engine', 'ssd', 'display', 'ports');
  const map = (role: 'engine' | 'ssd' | 'display' | 'ports', index: number, offset?: bigint, length?: bigint) =>
    rig.keep(
      rig
        .device(role)
        .region(index)
        .map({ ...(offset === undefined ? {} : { offset }), ...(length === undefined ? {} : { length }) }),
    );

  conforms('reads and writes registers of 32 and 64 bits', () => {
    const registers = map('engine', 0);
    assert.equal(observe(registers.length), 0x10_0000n);
    assert.equal(observe(registers.read32(0)), 0x0100_00ed);
    registers.write32(0x04, 0xcafe_f00d);
    assert.equal(observe(registers.read32(0x04)), 0x3501_0ff2);
    registers.write64(0x88, 0xffff_ffff_ffff_fff8n);
    assert.equal(observe(registers.read64(0x88)), 0xffff_ffff_ffff_fff8n);
    registers.write64(0x88, 64);
    assert.equal(observe(registers.read64(0x88)), 64n);
  });

  conforms('each width is one access: a register that takes 32 bits ignores others', () => {
    const registers = map('engine', 0);
    registers.write32(0x04, 0);
    registers.write8(0x04, 1);
    registers.write16(0x04, 1);
    observe(registers.read32(0x04));
    observe([registers.read8(0), registers.read16(0), registers.read64(0)]);
  });

  conforms('reads and writes memory in every width', () => {
    const memory = map('ssd', cmb.region, 4096n, 4096n);
    memory.write64(0, 0x8877_6655_4433_2211n);
    observe([memory.read8(1), memory.read16(2), memory.read32(4), memory.read64(0)]);
    memory.write8(0, 0xaa);
    memory.write16(2, 0xbbbb);
    memory.write32(4, 0xcccc_cccc);
    assert.equal(observe(memory.read64(0)), 0xcccc_cccc_bbbb_22aan);
    assert.equal(observe(rig.device('ssd').region(cmb.region).read64(4096)), 0xcccc_cccc_bbbb_22aan);
  });

  conforms('moves blocks, one access for each element', () => {
    const memory = map('display', vram.region, 0n, 65536n);
    const words = Uint32Array.from({ length: 256 }, (_, i) => i * 0x0101_0101);
    memory.write(1024, words);
    const back = new Uint32Array(256);
    memory.read(1024, back);
    assert.deepEqual(back, words);
    const wide = new BigUint64Array(2);
    memory.read(1024 + 8, wide);
    observe([...wide]);
    memory.write64(0, 0n); // another case may have written here
    memory.write(0, Uint8Array.of(1, 2, 3));
    memory.write(4, Uint16Array.of(0x0504, 0x0706));
    assert.equal(observe(memory.read64(0)), 0x0706_0504_0003_0201n);
  });

  conforms('a part of a region starts at its own offset', () => {
    const whole = map('ssd', cmb.region);
    const part = map('ssd', cmb.region, 0x2000n, 0x1000n);
    part.write32(0x10, 0x1357_9bdf);
    assert.equal(observe(whole.read32(0x2010)), 0x1357_9bdf);
    assert.equal(observe(part.offset), 0x2000n);
  });

  conforms('outside, misaligned or of another type is refused', async () => {
    const registers = map('engine', 0, 0n, 4096n);
    for (const offset of [4096, 4093, -4, 1, 2, NaN, Infinity, 1.5, 2 ** 53]) {
      await refuses('ERR_OUT_OF_RANGE', () => registers.read32(offset));
    }
    await refuses('ERR_OUT_OF_RANGE', () => registers.read64(4));
    await refuses('ERR_INVALID_ARG_TYPE', () => registers.read32('0' as unknown as number));
    await refuses('ERR_INVALID_ARG_TYPE', () => registers.read32(undefined as unknown as number));
    for (const value of [-1, 2 ** 32, 0.5, NaN]) {
      await refuses('ERR_OUT_OF_RANGE', () => registers.write32(4, value));
    }
    await refuses('ERR_OUT_OF_RANGE', () => registers.write64(0x80, 1n << 64n));
    await refuses('ERR_OUT_OF_RANGE', () => registers.read(4092, new Uint32Array(2)));
    await refuses('ERR_INVALID_ARG_TYPE', () => registers.read(0, new Float64Array(2) as unknown as Uint8Array));
  });

  conforms('misaligned or past the end cannot be mapped', async () => {
    await refuses('EINVAL', () => map('ssd', cmb.region, 100n, 4096n));
    await refuses('EINVAL', () => map('ssd', cmb.region, 0n, 0n));
    await refuses('ERR_OUT_OF_RANGE', () => map('ssd', cmb.region, 0n, cmb.size + 4096n));
  });

  conforms('I/O ports, config space and the ROM cannot be mapped: EINVAL', async () => {
    await refuses('EINVAL', () => map('ports', 1));
    await refuses('EINVAL', () => map('ports', 7));
    await refuses('EINVAL', () => map('display', 6));
  });

  conforms('with memory space off: ERR_MEMORY_DISABLED, and no crash', async () => {
    const registers = map('engine', 0);
    rig.device('engine').command.memory = false;
    await refuses('ERR_MEMORY_DISABLED', () => registers.read32(0));
    await refuses('ERR_MEMORY_DISABLED', () => registers.write32(4, 0));
    await refuses('ERR_MEMORY_DISABLED', () => registers.read(0, new Uint32Array(4)));
    rig.device('engine').command.memory = true;
    assert.equal(observe(registers.read32(0)), 0x0100_00ed);
  });

  conforms('works again after a reset', async () => {
    const registers = map('engine', 0);
    await rig.device('engine').reset();
    assert.equal(observe(registers.read32(0)), 0x0100_00ed);
  });

  conforms('closed: ERR_CLOSED', async () => {
    const registers = map('engine', 0);
    registers.close();
    registers.close();
    await refuses('ERR_CLOSED', () => registers.read32(0));
    await refuses('ERR_CLOSED', () => registers.write(0, new Uint32Array(1)));
  });
});
