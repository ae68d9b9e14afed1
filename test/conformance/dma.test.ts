// DMA transfers: the DMA engine accesses host memory and its peers' BARs through one IOAS.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { defaultKernel, DmaMemory } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { conforms, conformsOnlyOn, observe } from './record';
import { addresses, barBytes, cmb, collectGarbage, MiB, page, useRig, vram } from './rig';

const length = 512;

describe('DMA', () => {
  const rig = useRig('engine', 'ssd', 'display');

  conforms('from memory into a CMB', async () => {
    const engine = await rig.engine();
    const memory = await rig.memory();
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, MiB), { iova: 0x1000_0000n });
    await engine.copy(memory.iova, peer.iova + 0x100n, length);
    assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0x100n, length), memory.bytes.subarray(0, length));
  });

  conforms('from a CMB into memory', async () => {
    const engine = await rig.engine();
    const memory = await rig.memory();
    const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 13) & 0xff));
    rig.device('ssd').region(cmb.region).write(0x3000, bytes);
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page, 0x3000n));
    await engine.copy(peer.iova, memory.iova + 64n, length);
    assert.deepEqual(memory.bytes.subarray(64, 64 + length), bytes);
  });

  conforms('from device to device: CMB to video memory', async () => {
    const engine = await rig.engine();
    const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 31 + 5) & 0xff));
    rig.device('ssd').region(cmb.region).write(0, bytes);
    const from = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, MiB));
    const to = rig.ioas.mapDmaBuf(rig.exported('display', vram.region, vram.size));
    await engine.copy(from.iova, to.iova + 8n * MiB, length);
    assert.deepEqual(barBytes(rig.device('display'), vram.region, 8n * MiB, length), bytes);
  });

  conforms('from video memory to a CMB', async () => {
    const engine = await rig.engine();
    const bytes = Buffer.from(Array.from({ length }, (_, i) => (i * 3 + 1) & 0xff));
    rig.device('display').region(vram.region).write(page, bytes);
    const from = rig.ioas.mapDmaBuf(rig.exported('display', vram.region, 2n * page));
    const to = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page));
    await engine.copy(from.iova + page, to.iova, length);
    assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0n, length), bytes);
  });

  conforms('across a page border of two mappings side by side', async () => {
    const engine = await rig.engine();
    const memory = await rig.memory();
    rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page, 0x8000n), { iova: 0x2000_0000n });
    rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page, 0x2000n), { iova: 0x2000_0000n + page });
    await engine.copy(memory.iova, 0x2000_0000n + page - 256n, 512);
    assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0x8f00n, 256), memory.bytes.subarray(0, 256));
    assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0x2000n, 256), memory.bytes.subarray(256, 512));
  });

  conforms('between memory and the same memory mapped as a file', async () => {
    const engine = await rig.engine();
    const memory = rig.keep(DmaMemory.alloc(8192));
    const bytes = randomFillSync(Buffer.from(memory.buffer));
    const asMemory = await rig.ioas.mapMemory(memory);
    const asFile = await rig.ioas.mapFile(memory.fd, { length: memory.size });
    await engine.copy(asMemory.iova, asFile.iova + page, length);
    assert.deepEqual(bytes.subarray(Number(page), Number(page) + length), bytes.subarray(0, length));
  });

  conforms('into memory that the process has closed, and into nothing else', async () => {
    const engine = await rig.engine();
    const memory = await rig.memory();
    const closed = rig.keep(DmaMemory.alloc(4096));
    const mapping = await rig.ioas.mapMemory(closed);
    closed.close();
    using other = DmaMemory.alloc(4096);
    await engine.copy(memory.iova, mapping.iova, length);
    assert(new Uint8Array(other.buffer).every((byte) => byte === 0));
    await engine.copy(mapping.iova, memory.iova + page, length);
    assert.deepEqual(memory.bytes.subarray(Number(page), Number(page) + length), memory.bytes.subarray(0, length));
  });

  conforms('into memory that was closed before any device was attached, and into nothing else', async () => {
    const mapping = (() => {
      using closed = DmaMemory.alloc(1 << 20);
      new Uint8Array(closed.buffer).fill(0xaa);
      return rig.ioas.mapMemorySync(closed);
    })();
    await collectGarbage();
    // The kernel reuses the addresses that were just freed.
    const others = Array.from({ length: 4 }, () => rig.keep(DmaMemory.alloc(1 << 20)));
    const memory = await rig.memory();
    const engine = await rig.engine();
    await engine.copy(memory.iova, mapping.iova, length);
    assert(others.every(({ buffer }) => new Uint8Array(buffer).every((byte) => byte === 0)));
    await engine.copy(mapping.iova + page, memory.iova + page, length);
    assert(memory.bytes.subarray(Number(page), Number(page) + length).every((byte) => byte === 0xaa));
  });

  conforms('the buffer of the engine survives between transfers', async () => {
    const engine = await rig.engine();
    const memory = await rig.memory();
    await engine.load(memory.iova, length);
    const expected = Buffer.from(memory.bytes.subarray(0, length));
    memory.bytes.fill(0);
    await engine.store(memory.iova + page, length);
    assert.deepEqual(memory.bytes.subarray(Number(page), Number(page) + length), expected);
  });

  describe('is refused', () => {
    const probe = async (access: 'r' | 'w' | 'rw' | 'none') => {
      const engine = await rig.engine();
      const memory = await rig.memory();
      const region = rig.device('ssd').region(cmb.region);
      region.write(0, Buffer.alloc(length, 0x5a));
      const exported = rig.exported('ssd', cmb.region, MiB);
      if (access !== 'none') rig.ioas.mapDmaBuf(exported, { iova: 0x3000_0000n, access });
      await engine.copy(memory.iova, 0x3000_0000n, length);
      const written = barBytes(rig.device('ssd'), cmb.region, 0n, length).equals(memory.bytes.subarray(0, length));
      region.write(0, Buffer.alloc(length, 0x5a));
      await engine.copy(0x3000_0000n, memory.iova + page, length);
      const read = memory.bytes.subarray(Number(page), Number(page) + length).every((byte) => byte === 0x5a);
      return observe({ written, read });
    };
    conforms('where nothing is mapped', async () => {
      assert.deepEqual(await probe('none'), { written: false, read: false });
    });

    conforms('for writes where only reads are allowed', async () => {
      assert.deepEqual(await probe('r'), { written: false, read: true });
    });

    conforms('for reads where only writes are allowed', async () => {
      assert.deepEqual(await probe('w'), { written: true, read: false });
    });

    conforms('for neither where both are allowed', async () => {
      assert.deepEqual(await probe('rw'), { written: true, read: true });
    });

    const reason = 'a real IOMMU reports its faults to the kernel log only';
    conformsOnlyOn('fake', reason, 'and each refusal is recorded with its IOVA and reason', async () => {
      const kernel = defaultKernel();
      assert(kernel instanceof FakeKernel);
      const engine = await rig.engine();
      const exported = rig.exported('ssd', cmb.region, page);
      rig.ioas.mapDmaBuf(exported, { iova: 0x3000_0000n, access: 'r' });
      kernel.takeFaults();
      await engine.store(0x3000_0000n, 16);
      await engine.load(0x4000_0ff8n, 16);
      await rig.device('ssd').reset();
      await engine.load(0x3000_0000n, 16);
      await rig.device('engine').detach();
      await engine.load(0x3000_0000n, 16);
      const device = addresses.engine;
      assert.deepEqual(kernel.takeFaults(), [
        { device, iova: 0x3000_0000n, access: 'write', reason: 'forbidden' },
        { device, iova: 0x4000_0ff8n, access: 'read', reason: 'unmapped' },
        { device, iova: 0x3000_0000n, access: 'read', reason: 'revoked' },
        { device, iova: 0x3000_0000n, access: 'read', reason: 'unattached' },
      ]);
    });

    conforms('after unmap', async () => {
      const engine = await rig.engine();
      const memory = await rig.memory();
      rig.device('ssd').region(cmb.region).write(0, Buffer.alloc(length, 1));
      const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page));
      const { iova } = peer;
      peer.close();
      await engine.copy(memory.iova, iova, length);
      assert(barBytes(rig.device('ssd'), cmb.region, 0n, length).every((byte) => byte === 1));
    });

    conforms('without bus mastering, and after detach', async () => {
      const engine = await rig.engine();
      const memory = await rig.memory();
      rig.device('ssd').region(cmb.region).write(0, Buffer.alloc(length, 2));
      const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page));
      await engine.load(memory.iova, length);
      rig.device('engine').command.busMaster = false;
      await engine.store(peer.iova, length);
      assert(barBytes(rig.device('ssd'), cmb.region, 0n, length).every((byte) => byte === 2));
      rig.device('engine').command.busMaster = true;
      await rig.device('engine').detach();
      await engine.store(peer.iova, length);
      assert(barBytes(rig.device('ssd'), cmb.region, 0n, length).every((byte) => byte === 2));
      await rig.device('engine').attach(rig.ioas);
      await engine.store(peer.iova, length);
      assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0n, length), memory.bytes.subarray(0, length));
    });
  });
});
