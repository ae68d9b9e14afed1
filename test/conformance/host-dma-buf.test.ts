// dma-bufs of host memory, from /dev/udmabuf and the dma-heaps, and CPU access to dma-bufs.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, rmSync } from 'node:fs';
import { DmaBuf, DmaHeap, DmaMemory, type MappedDmaBuf } from '../../lib';
import { openFile } from '../cleanup';
import { conforms, observe, refuses, unlessFailing } from './record';
import { cmb, MiB, page, useRig } from './rig';

/** Fills DMA memory with random bytes, and returns these. */
function filled(memory: DmaMemory): Buffer {
  return randomFillSync(Buffer.from(memory.buffer));
}

/** Reads all bytes of a mapping. */
function contents(mapped: MappedDmaBuf): Buffer {
  const bytes = Buffer.alloc(Number(mapped.length));
  mapped.read(0, bytes);
  return bytes;
}

describe('a udmabuf of several memories', () => {
  const rig = useRig();
  const memory = (size = 16384) => rig.keep(DmaMemory.alloc(size));

  conforms('has them one after the other, in the order given', () => {
    const [one, other] = [memory(), memory()];
    const bytes = [filled(one), filled(other)] as const;
    const buffer = rig.keep(
      DmaBuf.fromMemory([
        { memory: other },
        { memory: one, offset: 4096, length: page },
        { memory: other, length: 8192 },
      ]),
    );
    assert.equal(observe(buffer.size), 28672n);
    assert.equal(observe(buffer.exporterName), 'udmabuf');
    const expected = Buffer.concat([bytes[1], bytes[0].subarray(4096, 8192), bytes[1].subarray(0, 8192)]);
    assert(contents(rig.keep(buffer.map())).equals(expected));
    assert(contents(rig.keep(buffer.map({ offset: 12288n, length: 12288 }))).equals(expected.subarray(12288, 24576)));
  });

  conforms('takes memfds by their fd, with a length', async () => {
    const source = memory();
    const bytes = filled(source);
    const buffer = rig.keep(DmaBuf.fromMemory([{ memory: source.fd, offset: 8192n, length: 8192 }]));
    assert(contents(rig.keep(buffer.map())).equals(bytes.subarray(8192)));
    await refuses('ERR_INVALID_ARG_TYPE', () => DmaBuf.fromMemory([{ memory: source.fd }]));
  });

  conforms('shares the pages, and keeps them when the memory is closed', () => {
    const source = memory(8192);
    const before = filled(source);
    const buffer = rig.keep(DmaBuf.fromMemory([{ memory: source }]));
    const mapped = rig.keep(buffer.map());
    mapped.write(100, Buffer.from('written through the dma-buf'));
    assert.equal(before.toString('utf8', 100, 127), 'written through the dma-buf');
    const now = Buffer.from(before);
    source.close();
    assert(contents(mapped).equals(now));
    assert(contents(rig.keep(buffer.map({ offset: page }))).equals(now.subarray(4096)));
    observe('all as it was');
  });

  conforms('of nothing, of an empty range, or of half pages: EINVAL', async () => {
    const source = memory();
    await refuses('EINVAL', () => DmaBuf.fromMemory([]));
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source, length: 0 }]));
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source }, { memory: source, length: 0 }]));
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source, offset: 1, length: 4096 }]));
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source, length: 4097n }]));
  });

  conforms('past the end of a memory', async () => {
    const source = memory();
    await refuses('ERR_OUT_OF_RANGE', () => DmaBuf.fromMemory([{ memory: source, length: 20480 }]));
    await refuses('ERR_OUT_OF_RANGE', () => DmaBuf.fromMemory([{ memory: source, offset: 8192, length: 12288 }]));
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source.fd, length: 20480 }]));
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source.fd, offset: 2n ** 63n, length: 4096 }]));
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source.fd, offset: 4096, length: 2n ** 64n - 4096n }]));
  });

  conforms('1024 ranges, the driver’s limit, and one more', async () => {
    const source = memory(4096);
    const range = { memory: source };
    const buffer = rig.keep(DmaBuf.fromMemory(Array.from({ length: 1024 }, () => range)));
    assert.equal(observe(buffer.size), 4n * MiB);
    const mapped = rig.keep(buffer.map());
    new Uint8Array(source.buffer)[5] = 99;
    const byte = Buffer.alloc(1);
    mapped.read(1023n * page + 5n, byte);
    assert.equal(byte[0], 99);
    const error = await refuses('EINVAL', () => DmaBuf.fromMemory(Array.from({ length: 1025 }, () => range)));
    assert.match(error.message, /list_limit/);
  });

  conforms('more than the driver’s limit of size: EINVAL', async () => {
    const size = 2n ** 53n;
    const error = await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: memory().fd, length: size }]));
    assert.match(error.message, /size_limit_mb/);
  });

  conforms('what is no memfd: EBADFD', async () => {
    const file = openFile('/dev/null');
    await refuses('EBADFD', () => DmaBuf.fromMemory([{ memory: file, length: 4096 }]));
    await refuses('EBADFD', () => DmaBuf.fromMemory([{ memory: memory() }, { memory: file, length: 4096 }]));
    await refuses('EBADFD', () => DmaBuf.fromMemory([{ memory: 0x7fff_0000, length: 4096 }]));
    await refuses('EBADFD', () => DmaBuf.fromMemory([{ memory: rig.iommufd.fd, length: 4096 }]));
  });

  conforms('a file of tmpfs, which nobody sealed: EINVAL', async () => {
    const path = `/dev/shm/vfio-dmabuf-${String(process.pid)}`;
    const file = openSync(path, 'w+');
    try {
      ftruncateSync(file, 4096);
      const error = await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: file, length: 4096 }]));
      assert.match(error.message, /F_SEAL_SHRINK/);
    } finally {
      closeSync(file);
      rmSync(path);
    }
  });

  conforms('what is not a list of memories never reaches the kernel', async () => {
    await refuses('ERR_INVALID_ARG_TYPE', () => DmaBuf.fromMemory(memory() as unknown as []));
    await refuses('ERR_INVALID_ARG_TYPE', () => DmaBuf.fromMemory([memory() as never]));
    await refuses('ERR_INVALID_ARG_TYPE', () => DmaBuf.fromMemory([{ memory: '1' as never }]));
    await refuses('ERR_OUT_OF_RANGE', () => DmaBuf.fromMemory([{ memory: -1, length: 4096 }]));
    const closed = DmaMemory.alloc(4096);
    closed.close();
    await refuses('ERR_CLOSED', () => DmaBuf.fromMemory([{ memory: closed }]));
  });

  conforms('is not for IOMMUFD: EOPNOTSUPP', async () => {
    const buffer = rig.keep(DmaBuf.fromMemory([{ memory: memory() }]));
    await refuses('EOPNOTSUPP', () => rig.ioas.mapDmaBuf(buffer));
  });
});

describe('the seals of DMA memory', () => {
  const rig = useRig();
  const memory = () => rig.keep(DmaMemory.alloc(4096));

  conforms('are from the start that it cannot shrink', () => assert.deepEqual(observe(memory().seals), ['shrink']));

  conforms('can be more', () => {
    const source = memory();
    source.seal('grow');
    source.seal();
    assert.deepEqual(observe(source.seals), ['shrink', 'grow']);
    source.seal('seal', 'grow');
    assert.deepEqual(observe(source.seals), ['seal', 'shrink', 'grow']);
    assert.equal(observe(rig.keep(source.exportDmaBuf()).size), page);
  });

  conforms('against writing: EBUSY, as it is mapped', async () => {
    const source = memory();
    await refuses('EBUSY', () => source.seal('write'));
    assert.deepEqual(observe(source.seals), ['shrink']);
  });

  conforms('against future writing are allowed, and then it is nothing for udmabuf', async () => {
    const source = memory();
    source.seal('future-write');
    new Uint8Array(source.buffer)[0] = 1;
    assert.deepEqual(observe(source.seals), ['shrink', 'future-write']);
    await refuses('EINVAL', () => source.exportDmaBuf());
    await refuses('EINVAL', () => DmaBuf.fromMemory([{ memory: source }]));
  });

  conforms('against sealing: EPERM', async () => {
    const source = memory();
    source.seal('seal');
    await refuses('EPERM', () => source.seal('grow'));
  });

  conforms('that there are not never reach the kernel', async () => {
    const source = memory();
    await refuses('ERR_OUT_OF_RANGE', () => source.seal('exec' as 'grow'));
    source.close();
    await refuses('ERR_CLOSED', () => source.seals);
    await refuses('ERR_CLOSED', () => source.seal('grow'));
  });
});

describe('a dma-heap', () => {
  const rig = useRig();
  const heap = () => rig.keep(DmaHeap.open());

  conforms('is in the list', () => {
    assert.deepEqual(observe(DmaHeap.list()), ['system']);
    assert.equal(observe(rig.keep(DmaHeap.open('system')).name), 'system');
  });

  conforms('gives dma-bufs of whole pages, zeroed', async () => {
    const buffer = rig.keep(await heap().alloc(5000));
    assert.equal(observe(buffer.size), 8192n);
    assert.equal(observe(buffer.exporterName), 'system');
    assert(contents(rig.keep(buffer.map())).every((byte) => byte === 0));
  });

  conforms('now, too, and large ones', () => {
    const source = heap();
    const buffer = rig.keep(source.allocSync(8n * MiB));
    source.close();
    const mapped = rig.keep(buffer.map());
    mapped.write(8n * MiB - 4n, Buffer.from('last'));
    const again = rig.keep(buffer.map({ offset: 8n * MiB - page }));
    assert.equal(observe(contents(again).toString('utf8', 4092)), 'last');
  });

  conforms('that is not there: ENOENT, with the names of those that are', async () => {
    const error = await refuses('ENOENT', () => DmaHeap.open('reserved'));
    assert.match(error.message, /system/);
  });

  conforms('names that are no name of a file, and sizes that cannot be', async () => {
    for (const name of ['', '.', '..', 'a/b', '../null', 'a\0']) {
      await refuses('ERR_OUT_OF_RANGE', () => DmaHeap.open(name));
    }
    const source = heap();
    for (const size of [0, -1, 0.5, 2n ** 63n]) {
      await refuses('ERR_OUT_OF_RANGE', () => source.alloc(size));
      await refuses('ERR_OUT_OF_RANGE', () => source.allocSync(size));
    }
    await refuses('ERR_OUT_OF_RANGE', () => source.alloc(4096, { access: 'x' as 'r' }));
    await refuses('ERR_INVALID_ARG_TYPE', () => source.allocSync('1' as unknown as number));
  });

  conforms('gives what may only be read, and what may not be mapped', async () => {
    const source = heap();
    const readable = rig.keep(await source.alloc(4096, { access: 'r' }));
    await refuses('EACCES', () => readable.map());
    assert(contents(rig.keep(readable.map({ access: 'r' }))).every((byte) => byte === 0));
    const closed = rig.keep(source.allocSync(4096, { access: 'w' }));
    await refuses('EACCES', () => closed.map());
    await refuses('EACCES', () => closed.map({ access: 'r' }));
  });

  conforms('closed: ERR_CLOSED, and its buffers stay', async () => {
    const source = heap();
    const buffer = rig.keep(source.allocSync(1));
    source.close();
    source.close();
    assert.equal(observe(source.closed), true);
    await refuses('ERR_CLOSED', () => source.alloc(1));
    await refuses('ERR_CLOSED', () => source.allocSync(1));
    assert.equal(observe(buffer.size), page);
  });

  conforms('is not for IOMMUFD: EOPNOTSUPP', async () => {
    const buffer = rig.keep(heap().allocSync(4096));
    await refuses('EOPNOTSUPP', () => rig.ioas.mapDmaBuf(buffer));
  });
});

describe('a dma-buf mapped for the CPU', () => {
  const rig = useRig('ssd');
  const heapBuffer = (size = 16384) => rig.keep(rig.keep(DmaHeap.open()).allocSync(size));
  const udmabuf = () => rig.keep(rig.keep(DmaMemory.alloc(16384)).exportDmaBuf());

  conforms('is the same memory in every mapping', () => {
    for (const buffer of [heapBuffer(), udmabuf()]) {
      const [one, other] = [rig.keep(buffer.map()), rig.keep(buffer.map({ offset: 4096, length: 4096n }))];
      const bytes = randomFillSync(new Uint8Array(one.buffer));
      assert.deepEqual(observe([one.offset, one.length, one.access]), [0n, 16384n, 'rw']);
      assert.deepEqual(observe([other.offset, other.length]), [4096n, 4096n]);
      assert(contents(other).equals(Buffer.from(bytes.subarray(4096, 8192))));
      other.write(1n, new Uint8Array([1, 2, 3]));
      assert.deepEqual([...bytes.subarray(4097, 4100)], [1, 2, 3]);
      assert.equal(one.buffer, one.buffer);
      assert.equal(observe(one.buffer.byteLength), 16384);
    }
  });

  conforms('can be read only', async () => {
    for (const buffer of [heapBuffer(), udmabuf()]) {
      rig.keep(buffer.map()).write(7, Buffer.from('x'));
      const mapped = rig.keep(buffer.map({ access: 'r' }));
      assert.equal(observe(contents(mapped)[7]), 0x78);
      await refuses('ERR_READ_ONLY', () => mapped.buffer);
      await refuses('ERR_READ_ONLY', () => mapped.write(0, new Uint8Array(1)));
    }
  });

  conforms('part of a page is mapped as a page, and reached in part', async () => {
    const mapped = rig.keep(heapBuffer().map({ offset: 4096, length: 10 }));
    assert.equal(observe(mapped.buffer.byteLength), 10);
    mapped.write(2, Buffer.from('12345678'));
    assert.equal(observe(contents(mapped).toString('latin1', 2)), '12345678');
    await refuses('ERR_OUT_OF_RANGE', () => mapped.read(0, new Uint8Array(11)));
    await refuses('ERR_OUT_OF_RANGE', () => mapped.write(8n, new Uint8Array(3)));
    await refuses('ERR_OUT_OF_RANGE', () => mapped.read(11, new Uint8Array(0)));
    await refuses('ERR_OUT_OF_RANGE', () => mapped.read(-1, new Uint8Array(1)));
    await refuses('ERR_INVALID_ARG_TYPE', () => mapped.read(0, [] as unknown as Uint8Array));
    mapped.read(10, new Uint8Array(0));
  });

  conforms('not at an offset that cuts a page: EINVAL', async () => {
    for (const buffer of [heapBuffer(), udmabuf()]) {
      await refuses('EINVAL', () => buffer.map({ offset: 1 }));
      await refuses('EINVAL', () => buffer.map({ offset: 2048n, length: 2048 }));
    }
  });

  conforms('not past its end, nor nothing of it', async () => {
    for (const buffer of [heapBuffer(), udmabuf()]) {
      await refuses('ERR_OUT_OF_RANGE', () => buffer.map({ length: 16385 }));
      await refuses('ERR_OUT_OF_RANGE', () => buffer.map({ offset: 8192, length: 8193n }));
      await refuses('ERR_OUT_OF_RANGE', () => buffer.map({ offset: 16384 }));
      await refuses('ERR_OUT_OF_RANGE', () => buffer.map({ length: 0 }));
      await refuses('ERR_OUT_OF_RANGE', () => buffer.map({ access: 'w' as 'r' }));
    }
  });

  conforms('not if VFIO exported it: EINVAL', async () => {
    const buffer = rig.exported('ssd', cmb.region, MiB);
    for (const access of ['r', 'rw'] as const) {
      const error = await refuses('EINVAL', () => buffer.map({ access }));
      unlessFailing(() => assert.match(error.message, /lets no CPU map it/));
    }
  });

  conforms('closed, every view of it reads zeros', async () => {
    for (const buffer of [heapBuffer(), udmabuf()]) {
      const mapped = buffer.map();
      const view = new Uint8Array(mapped.buffer).fill(0xff);
      mapped.close();
      mapped.close();
      assert.equal(observe(mapped.closed), true);
      assert(view.every((byte) => byte === 0));
      view.fill(1); // writes to private zero pages
      await refuses('ERR_CLOSED', () => mapped.buffer);
      await refuses('ERR_CLOSED', () => mapped.read(0, new Uint8Array(1)));
      await refuses('ERR_CLOSED', () => mapped.write(0, new Uint8Array(1)));
      assert(contents(rig.keep(buffer.map())).every((byte) => byte === 0xff));
    }
  });

  conforms('closes with the dma-buf', async () => {
    const buffer = udmabuf();
    const [one, other] = [buffer.map(), buffer.map({ access: 'r' })];
    buffer.close();
    assert.deepEqual(observe([one.closed, other.closed]), [true, true]);
    await refuses('ERR_CLOSED', () => buffer.map());
  });
});

describe('who holds a dma-buf', () => {
  const rig = useRig('ssd');

  conforms('is counted: duplicates', () => {
    const buffer = rig.exported('ssd', cmb.region, MiB);
    assert.equal(observe(buffer.references), 1);
    const copy = rig.keep(DmaBuf.fromFd(buffer.fd));
    assert.equal(observe(buffer.references), 2);
    copy.close();
    assert.equal(observe(buffer.references), 1);
  });

  conforms('is counted: IOMMUFD, also when the mapping was revoked', async () => {
    const buffer = rig.exported('ssd', cmb.region, MiB);
    const mapping = rig.ioas.mapDmaBuf(buffer);
    assert.equal(observe(buffer.references), 2);
    await rig.device('ssd').reset();
    observe(buffer.references);
    mapping.close();
    assert.equal(observe(buffer.references), 1);
  });

  conforms('is counted: the CPU’s mappings', () => {
    const buffer = rig.keep(rig.keep(DmaMemory.alloc(8192)).exportDmaBuf());
    const mapped = [buffer.map(), buffer.map({ access: 'r' })];
    assert.equal(observe(buffer.references), 3);
    for (const one of mapped) one.close();
    assert.equal(observe(buffer.references), 1);
  });

  conforms('closed: ERR_CLOSED', async () => {
    const buffer = rig.keep(rig.keep(DmaHeap.open()).allocSync(1));
    buffer.close();
    await refuses('ERR_CLOSED', () => buffer.references);
  });
});
