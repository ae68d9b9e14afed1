// dma-bufs of a device: names, sizes, duplicates.
import assert from 'node:assert/strict';
import { DmaBuf, DmaMemory } from '../../lib';
import { openFile } from '../cleanup';
import { conforms, observe, refuses } from './record';
import { cmb, MiB, page, useRig } from './rig';

describe('a dma-buf', () => {
  const rig = useRig('ssd', 'engine');
  const exported = () => rig.exported('ssd', cmb.region, MiB);
  const udmabuf = () => rig.keep(rig.keep(DmaMemory.alloc(65536)).exportDmaBuf());

  conforms('has a name, at most 31 bytes of it', async () => {
    const buffer = exported();
    assert.equal(observe(buffer.name), '');
    buffer.name = 'controller memory of drive zero'; // 31 bytes
    assert.equal(observe(buffer.name), 'controller memory of drive zero');
    buffer.name = 'ß';
    assert.equal(observe(buffer.name), 'ß');
    await refuses('ERR_OUT_OF_RANGE', () => (buffer.name = 'x'.repeat(32)));
    await refuses('ERR_OUT_OF_RANGE', () => (buffer.name = 'a\0b'));
    await refuses('ERR_INVALID_ARG_TYPE', () => (buffer.name = 7 as unknown as string));
  });

  conforms('is the same buffer through a duplicate of its fd', () => {
    const buffer = exported();
    const copy = rig.keep(DmaBuf.fromFd(buffer.fd));
    assert.notEqual(copy.fd, buffer.fd);
    assert.equal(copy.inode, buffer.inode);
    assert.equal(observe(copy.size), MiB);
    buffer.name = 'shared';
    assert.equal(observe(copy.name), 'shared');
    buffer.close();
    assert.equal(observe(rig.ioas.mapDmaBuf(copy, { iova: 0n }).length), MiB);
  });

  conforms('a duplicate knows about revocation', async () => {
    const copy = rig.keep(DmaBuf.fromFd(exported().fd));
    const mapping = rig.ioas.mapDmaBuf(copy);
    await rig.device('ssd').reset();
    assert.equal(observe(mapping.state), 'revoked');
  });

  conforms('an fd of something else is no dma-buf', async () => {
    const memory = rig.keep(DmaMemory.alloc(4096));
    await refuses('ERR_NOT_DMA_BUF', () => DmaBuf.fromFd(memory.fd));
    await refuses('ERR_NOT_DMA_BUF', () => DmaBuf.fromFd(rig.device('ssd').fd));
    await refuses('ERR_NOT_DMA_BUF', () => DmaBuf.fromFd(rig.iommufd.fd));
    const file = openFile('/dev/null');
    await refuses('ERR_NOT_DMA_BUF', () => DmaBuf.fromFd(file));
  });

  conforms('a number that is no fd: EBADF', async () => {
    await refuses('EBADF', () => DmaBuf.fromFd(0x7fff_0000));
    await refuses('ERR_OUT_OF_RANGE', () => DmaBuf.fromFd(-1));
  });

  conforms('CPU access begins and ends, in each way', () => {
    for (const buffer of [exported(), udmabuf()]) {
      for (const access of ['r', 'w', 'rw'] as const) {
        buffer.beginCpuAccess(access);
        buffer.endCpuAccess(access);
      }
      buffer.beginCpuAccess();
      buffer.endCpuAccess();
    }
    observe('all succeed');
  });

  conforms('CPU access of another kind never reaches the kernel', async () => {
    const buffer = udmabuf();
    await refuses('ERR_OUT_OF_RANGE', () => buffer.beginCpuAccess('' as 'r'));
    await refuses('ERR_INVALID_ARG_TYPE', () => buffer.endCpuAccess(3 as unknown as 'r'));
  });

  conforms('closed: ERR_CLOSED', async () => {
    const buffer = exported();
    buffer.close();
    buffer.close();
    await refuses('ERR_CLOSED', () => buffer.fd);
    await refuses('ERR_CLOSED', () => buffer.name);
    await refuses('ERR_CLOSED', () => buffer.beginCpuAccess());
    assert.equal(observe(buffer.size), MiB);
  });
});

describe('DMA memory', () => {
  conforms('is zeroed, of whole pages, and the CPU’s own', () => {
    using memory = DmaMemory.alloc(5000);
    assert.equal(observe(memory.size), 8192);
    assert.equal(observe(memory.buffer.byteLength), 8192);
    const bytes = new Uint8Array(memory.buffer);
    assert(bytes.every((byte) => byte === 0));
    bytes.fill(7);
    assert.equal(new Uint8Array(memory.buffer)[8191], 7);
    assert.equal(memory.buffer, memory.buffer);
  });

  conforms('closed, every view of it reads zeros', async () => {
    const memory = DmaMemory.alloc(4096);
    const { buffer } = memory;
    const view = new Uint8Array(buffer);
    view.fill(0xff);
    memory.close();
    memory.close();
    assert.equal(observe(buffer.byteLength), 4096);
    assert(view.every((byte) => byte === 0));
    await refuses('ERR_CLOSED', () => memory.buffer);
    await refuses('ERR_CLOSED', () => memory.exportDmaBuf());
  });

  conforms('transferred away and closed, the memory reads zeros', () => {
    const memory = DmaMemory.alloc(4096);
    new Uint8Array(memory.buffer).fill(0xff);
    let moved: ArrayBuffer | undefined;
    try {
      moved = structuredClone(memory.buffer, { transfer: [memory.buffer] });
    } catch (error) {
      // Node 22 and later refuse; Node 20 makes a copy.
      assert.equal((error as Error).name, 'DataCloneError');
    }
    memory.close();
    assert(new Uint8Array(moved ?? new ArrayBuffer(0)).every((byte) => byte === 0xff || byte === 0));
  });

  conforms('moved by transfer() and closed, the memory reads zeros and faults nowhere', () => {
    const memory = DmaMemory.alloc(4096);
    const { buffer } = memory;
    new Uint8Array(buffer).fill(0xff);
    // Node 22 and later have transfer().
    const moved = (buffer as { transfer?: () => ArrayBuffer }).transfer?.();
    memory.close();
    assert(new Uint8Array(moved ?? new ArrayBuffer(4096)).every((byte) => byte === 0));
  });

  conforms('sizes that cannot be', async () => {
    await refuses('ERR_OUT_OF_RANGE', () => DmaMemory.alloc(0));
    await refuses('ERR_OUT_OF_RANGE', () => DmaMemory.alloc(-4096));
    await refuses('ERR_OUT_OF_RANGE', () => DmaMemory.alloc(2n ** 40n));
    await refuses('ERR_OUT_OF_RANGE', () => DmaMemory.alloc(0.5));
    await refuses('ERR_INVALID_ARG_TYPE', () => DmaMemory.alloc('4096' as unknown as number));
  });

  conforms('huge pages that nobody reserved: ENOMEM', async () => {
    await refuses('ENOMEM', () => DmaMemory.alloc(4096, { hugePages: '2M' }));
    await refuses('ERR_OUT_OF_RANGE', () => DmaMemory.alloc(4096, { hugePages: '3M' as '2M' }));
  });

  conforms('as a dma-buf, whole and in part', async () => {
    using memory = DmaMemory.alloc(65536);
    using whole = memory.exportDmaBuf();
    using part = memory.exportDmaBuf({ offset: 4096, length: page });
    assert.equal(observe(whole.exporterName), 'udmabuf');
    assert.deepEqual(observe([whole.size, part.size]), [65536n, page]);
    await refuses('EINVAL', () => memory.exportDmaBuf({ offset: 1, length: 4096 }));
    await refuses('EINVAL', () => memory.exportDmaBuf({ length: 100 }));
    await refuses('ERR_OUT_OF_RANGE', () => memory.exportDmaBuf({ length: 131072 }));
  });
});
