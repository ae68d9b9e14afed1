// ioctl arguments at the end of the caller's memory, and arrays in them that extend beyond that end.
import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { defaultKernel } from '../../lib/kernel/default-kernel';
import { native } from '../../lib/addon/native';
import { conformsBeside, observe } from './record';
import { useRig } from './rig';

// linux/vfio.h, linux/iommufd.h, linux/dma-buf.h
const requests = {
  deviceGetInfo: 0x3b6b,
  deviceGetRegionInfo: 0x3b6c,
  deviceGetIrqInfo: 0x3b6d,
  deviceSetIrqs: 0x3b6e,
  deviceGetHotResetInfo: 0x3b70,
  deviceHotReset: 0x3b71,
  deviceFeature: 0x3b75,
  deviceAttach: 0x3b77,
  ioasAlloc: 0x3b81,
  ioasAllowIovas: 0x3b82,
  ioasIovaRanges: 0x3b84,
  dmaBufSync: 0x4008_6200,
  dmaBufSetName: 0x4008_6201,
};

const featureGetDmaBuf = (1 << 16) | 11;
/** An address that is not mapped. */
const nowhere = 0x1000n;

/** Little-endian words: 32 bits each, or 64 bits for bigints. */
function bytesOf(...words: (number | bigint)[]): Uint8Array {
  const parts = words.map((word) => {
    const part = Buffer.alloc(typeof word === 'bigint' ? 8 : 4);
    if (typeof word === 'bigint') part.writeBigUInt64LE(word);
    else part.writeUInt32LE(word);
    return part;
  });
  return new Uint8Array(Buffer.concat(parts));
}

function ioctl(fd: number, request: number, bytes: Uint8Array): number {
  return native.ioctlAtPageEnd(defaultKernel().handle, fd, request, bytes);
}

/**
 * Asserts that the request fails with this error and has no other effect. The library makes no such request, so
 * injected failures do not apply.
 */
function fails(code: keyof typeof constants.errno, fd: number, request: number, bytes: Uint8Array): void {
  const result = observe(ioctl(fd, request, bytes));
  assert.equal(result, -constants.errno[code]);
}

describe("the end of the caller's memory", () => {
  const rig = useRig('ssd', 'engine');
  const dmaBuf = (count: number, ...ranges: (number | bigint)[]) =>
    bytesOf(8 + 16 + 4 * ranges.length, featureGetDmaBuf, 2, 0, 0, count, ...ranges);

  conformsBeside([], 'ranges to export that are not there: EFAULT, or ENOMEM if the kernel cannot hold as many', () => {
    const { fd } = rig.device('ssd');
    for (const count of [1, 2, 1000, 0x4_0000]) fails('EFAULT', fd, requests.deviceFeature, dmaBuf(count));
    for (const count of [0x4_0001, 0x1000_0000, 0xffff_ffff]) {
      fails('ENOMEM', fd, requests.deviceFeature, dmaBuf(count));
    }
    fails('EFAULT', fd, requests.deviceFeature, dmaBuf(2, 0n, 4096n));
    fails('EINVAL', fd, requests.deviceFeature, dmaBuf(0));
  });

  conformsBeside([], 'a feature whose payload is not there: EFAULT; one that is too short: EINVAL', () => {
    const { fd } = rig.device('ssd');
    fails('EFAULT', fd, requests.deviceFeature, bytesOf(24, featureGetDmaBuf));
    fails('EINVAL', fd, requests.deviceFeature, bytesOf(23, featureGetDmaBuf));
  });

  conformsBeside([], 'interrupts: EINVAL beyond argsz, EFAULT beyond the memory', () => {
    const { fd } = rig.device('ssd');
    const [none, eventfds] = [0x21, 0x24]; // flags of a trigger, with no data or with eventfds
    const set = (argsz: number, flags: number, count: number) => bytesOf(argsz, flags, 2, 0, count);
    fails('EINVAL', fd, requests.deviceSetIrqs, set(20, eventfds, 1));
    fails('EINVAL', fd, requests.deviceSetIrqs, set(23, eventfds, 1));
    fails('EFAULT', fd, requests.deviceSetIrqs, set(24, eventfds, 1));
    fails('EFAULT', fd, requests.deviceSetIrqs, set(20 + 4 * 65, eventfds, 65));
    fails('EINVAL', fd, requests.deviceSetIrqs, set(20 + 4 * 0x7fff_ff, eventfds, 0x7fff_ff));
    fails('EINVAL', fd, requests.deviceSetIrqs, set(20, none, 0));
  });

  conformsBeside([], 'info structs of a device, whole and cut', () => {
    const { fd } = rig.device('ssd');
    const { deviceGetInfo, deviceGetRegionInfo, deviceGetIrqInfo } = requests;
    assert.equal(observe(ioctl(fd, deviceGetInfo, bytesOf(16, 0, 0, 0))), 0);
    fails('EFAULT', fd, deviceGetInfo, bytesOf(16, 0, 0));
    assert.equal(observe(ioctl(fd, deviceGetRegionInfo, bytesOf(32, 0, 2, 0, 0n, 0n))), 0);
    fails('EFAULT', fd, deviceGetRegionInfo, bytesOf(32, 0, 2, 0, 0n));
    assert.equal(observe(ioctl(fd, deviceGetIrqInfo, bytesOf(16, 0, 2, 0))), 0);
    fails('EFAULT', fd, deviceGetIrqInfo, bytesOf(16, 0, 2));
    fails('EFAULT', fd, requests.deviceAttach, bytesOf(12, 0));
  });

  conformsBeside([], 'hot reset: EFAULT where the list is not there', () => {
    const { fd } = rig.device('ssd');
    fails('EFAULT', fd, requests.deviceGetHotResetInfo, bytesOf(4096, 0, 0));
    fails('EFAULT', fd, requests.deviceHotReset, bytesOf(12, 0));
  });

  conformsBeside([], 'commands of an iommufd: EFAULT where they end too soon, or lead nowhere', () => {
    const { fd } = rig.iommufd;
    const { id } = rig.ioas;
    fails('EFAULT', fd, requests.ioasAlloc, bytesOf(12, 0));
    fails('EINVAL', fd, requests.ioasAlloc, bytesOf(8, 0));
    fails('EFAULT', fd, requests.ioasAlloc, bytesOf(20, 0, 0));
    fails('E2BIG', fd, requests.ioasAlloc, bytesOf(20, 0, 0, 1, 0));
    fails('EFAULT', fd, requests.ioasAllowIovas, bytesOf(24, id, 1, 0, nowhere));
    fails('EFAULT', fd, requests.ioasAllowIovas, bytesOf(24, id, 0xffff_ffff, 0, nowhere));
    fails('EFAULT', fd, requests.ioasIovaRanges, bytesOf(32, id, 16, 0, nowhere, 0n));
  });

  conformsBeside([], 'a dma-buf', () => {
    const { fd } = rig.exported('ssd', 2, 4096n);
    fails('EFAULT', fd, requests.dmaBufSync, bytesOf(1));
    assert.equal(observe(ioctl(fd, requests.dmaBufSetName, new Uint8Array(Buffer.from('it\0')))), 0);
    fails('EFAULT', fd, requests.dmaBufSetName, new Uint8Array(Buffer.from('it')));
  });
});
