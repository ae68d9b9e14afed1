// VFIO's container ioctls on an iommufd (the compatibility layer), which the library makes on containers only.
import assert from 'node:assert/strict';
import { conformsBeside, observe } from './record';
import { useRig } from './rig';
import { describeRaw } from '../describe-raw';
import * as raw from '../raw';

// linux/vfio.h, linux/iommufd.h
const requests = {
  getApiVersion: 0x3b64,
  checkExtension: 0x3b65,
  setIommu: 0x3b66,
  getInfo: 0x3b70,
  mapDma: 0x3b71,
  unmapDma: 0x3b72,
  dirtyPages: 0x3b75,
  vfioIoas: 0x3b88,
} as const;
const type1 = 1;
const type1v2 = 3;
const flags = { read: 1, write: 2, all: 2 };
const iova = 0x10_0000n;
/** Where the memory is that the cases map. */
const mapped = 0x8000;

describeRaw("VFIO's container ioctls on an iommufd", () => {
  const rig = useRig('engine');
  const make = (request: keyof typeof requests, argument: bigint | number = 0) =>
    observe(raw.call('ioctl', rig.iommufd.fd, requests[request], argument));
  const ask = (request: keyof typeof requests, bytes: Buffer) => {
    const result = observe(raw.ioctl(rig.iommufd.fd, requests[request], bytes));
    observe(bytes.toString('hex'));
    return result;
  };
  const ioas = (op: number, id = 0, reserved = 0) => raw.words(16, id, op | (reserved << 16), 0).subarray(0, 12);
  const vfioIoas = (op: number, id = 0, reserved = 0) => {
    const bytes = ioas(op, id, reserved);
    bytes.writeUInt32LE(12, 0);
    return { result: ask('vfioIoas', bytes), id: bytes.readUInt32LE(4) };
  };
  const map = (at = iova, size = 0x4000n, access = flags.read | flags.write, argsz = 32) =>
    ask('mapDma', raw.words(argsz, access, raw.at(mapped), at, size));
  const unmap = (at: bigint, size: bigint, how = 0, argsz = 24) => {
    const bytes = raw.words(argsz, how, at, size);
    return [ask('unmapDma', bytes), bytes.readBigUInt64LE(16)];
  };
  const info = (argsz: number) => {
    const bytes = Buffer.alloc(Math.max(argsz, 24));
    bytes.writeUInt32LE(argsz);
    return { result: ask('getInfo', bytes), bytes };
  };

  beforeEach(() => {
    vfioIoas(1, rig.ioas.id);
  });
  afterEach(() => {
    if (!rig.iommufd.closed) raw.ioctl(rig.iommufd.fd, requests.vfioIoas, raw.words(12, 0, 2));
  });

  conformsBeside([], 'API version and extensions', () => {
    assert.equal(make('getApiVersion'), 0);
    const extensions = [...Array(16).keys(), 0xffff_ffff].map((extension) => make('checkExtension', extension));
    assert.deepEqual(extensions.slice(0, 11), [0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 0]);
  });

  conformsBeside([], 'an IOAS for them is set, told and cleared', () => {
    assert.deepEqual(vfioIoas(0), { result: 0, id: rig.ioas.id });
    assert.equal(vfioIoas(2).result, 0);
    assert.equal(vfioIoas(0).result, 'ENODEV');
    assert.equal(vfioIoas(1, 9999).result, 'ENOENT');
    assert.equal(vfioIoas(3, rig.ioas.id).result, 'EOPNOTSUPP');
    assert.equal(vfioIoas(0, 0, 1).result, 'EOPNOTSUPP');
  });

  conformsBeside([], 'without an IOAS: ENODEV', () => {
    assert.equal(vfioIoas(2).result, 0);
    assert.equal(make('setIommu', type1v2), 'ENODEV');
    assert.equal(make('setIommu', 99), 'EINVAL');
    assert.equal(make('checkExtension', 4), 'ENODEV');
    assert.equal(info(24).result, 'ENODEV');
    assert.equal(map(), 'ENODEV');
    assert.equal(map(iova, 0x4000n, 4), 'EINVAL');
    assert.equal(unmap(iova, 0x4000n)[0], 'ENODEV');
    assert.equal(unmap(iova, 0x4000n, 1)[0], 'EINVAL');
  });

  conformsBeside([], 'the IOMMU is one of two types', () => {
    assert.equal(make('setIommu', type1v2), 0);
    assert.equal(make('setIommu', type1v2), 0);
    for (const type of [0, 2, 4, 8, 0x1_0000_0001n]) assert.equal(make('setIommu', type), 'EINVAL');
  });

  conformsBeside([], 'info, also in too little space', async () => {
    info(24);
    await rig.device('engine').attach(rig.ioas);
    for (const argsz of [0, 15, 16, 20, 24, 32, 40, 48, 64, 72, 80, 88, 104, 128]) {
      const { result } = info(argsz);
      assert.equal(result, argsz < 16 ? 'EINVAL' : 0);
    }
    assert.equal(make('checkExtension', 4), 0);
    await rig.device('engine').detach();
  });

  conformsBeside([], 'map and unmap', () => {
    assert.equal(map(), 0);
    assert.equal(map(), 'EEXIST');
    assert.equal(map(iova + 0x4000n, 0n), 'EINVAL');
    assert.equal(map(iova, 0x4000n, flags.read, 31), 'EINVAL');
    assert.equal(map(iova + 0x4000n, 0x1000n, 0), 0);
    assert.equal(map(0xffff_ffff_ffff_f000n, 0x1000n), 0);
    assert.equal(map(0xffff_ffff_ffff_f000n, 0x2000n), 'EOVERFLOW');
    assert.deepEqual(unmap(iova, 0x1000n), ['ENOENT', 0n]);
    assert.deepEqual(unmap(iova, 0x4000n), [0, 0x4000n]);
    assert.deepEqual(unmap(iova, 0x4000n), [0, 0n]);
    assert.deepEqual(unmap(iova, 0x4000n, flags.all)[0], 'EINVAL');
    assert.deepEqual(unmap(0n, 0n, 4)[0], 'EINVAL');
    assert.deepEqual(unmap(0n, 0n, 0, 23)[0], 'EINVAL');
    assert.deepEqual(unmap(0n, 0n, flags.all), [0, 0x2000n]);
    assert.deepEqual(unmap(0n, 0n, flags.all), [0, 0n]);
  });

  conformsBeside([], 'with IOMMU type 1, an unmap may begin and end inside mappings', () => {
    assert.equal(make('setIommu', type1), 0);
    assert.equal(map(), 0);
    assert.deepEqual(unmap(iova + 0x1000n, 0x2000n), [0, 0x2000n]);
    assert.deepEqual(unmap(iova + 0x1000n, 0x1000n), [0, 0n]);
    assert.deepEqual(unmap(iova + 0x100n, 0x100n)[0], 'EINVAL');
    assert.deepEqual(unmap(0n, 0n, flags.all), [0, 0x2000n]);
  });

  conformsBeside([], 'what is mapped is the IOAS’s', () => {
    assert.equal(map(), 0);
    assert.equal(observe(rig.ioas.unmap(iova, 0x4000n)), 0x4000n);
    assert.deepEqual(unmap(iova, 0x4000n), [0, 0n]);
  });

  conformsBeside([], 'arguments that are not there: EFAULT; other requests: ENOTTY', () => {
    for (const request of ['getInfo', 'mapDma', 'unmapDma'] as const) assert.equal(make(request, 0x1000), 'EFAULT');
    assert.equal(make('dirtyPages', 0x1000), 'ENOTTY');
    const others = [0x3b67, 0x3b7f, 0x3bff, 0x5401].map((request) =>
      observe(raw.call('ioctl', rig.iommufd.fd, request, 0x1000)),
    );
    assert.deepEqual(new Set(others), new Set(['ENOTTY']));
  });
});
