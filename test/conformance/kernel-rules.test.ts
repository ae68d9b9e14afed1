// Rules of the kernel that the library's own calls do not reach, or hide.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DmaMemory, Eventfd } from '../../lib';
import { defaultKernel } from '../../lib/kernel/default-kernel';
import { groupOf } from './container-rig';
import { conformsBeside, observe } from './record';
import { addresses, cmb, page, useRig } from './rig';
import { describeRaw } from '../describe-raw';
import * as raw from '../raw';

const barAt = (index: number, offset = 0n) => (BigInt(index) << 40n) + offset;
const prot = { read: 1, write: 2 };
const shared = 1;

/** Maps a part of a file. Returns the address. */
const mmap = (fd: number, length: bigint, offset: bigint, protection = prot.read | prot.write, flags = shared) =>
  raw.call('mmap', length, protection, flags, fd, offset);

/** The path of the device's character device. */
function pathOf(address: string): string {
  const [cdev = ''] = readdirSync(join(defaultKernel().sysfs, 'bus/pci/devices', address, 'vfio-dev'));
  return `/dev/vfio/devices/${cdev}`;
}

describeRaw('IOMMU_IOAS_MAP', () => {
  const rig = useRig('ssd', 'engine');
  const map = (address: bigint, size = page, access = 6, iova = 0x10_0000n) => {
    const bytes = raw.words(40, access | 1, rig.ioas.id, 0, address, size, iova);
    const result = observe(raw.ioctl(rig.iommufd.fd, 0x3b85, bytes));
    assert.equal(observe(bytes.readBigUInt64LE(32)), iova);
    return result;
  };

  conformsBeside([], 'of a mapped BAR: EFAULT once a device is attached', async () => {
    const address = BigInt(mmap(rig.device('ssd').fd, 0x4000n, barAt(cmb.region)));
    assert.equal(map(address), 0);
    assert.equal(observe(rig.ioas.unmap(0x10_0000n, page)), page);
    await rig.device('engine').attach(rig.ioas);
    assert.equal(map(address), 'EFAULT');
    raw.call('munmap', address, 0x4000n);
    assert.equal(map(address), 'EFAULT');
    await rig.device('engine').detach();
  });

  conformsBeside([], 'of memory, and of memory that is read-only', async () => {
    await rig.device('engine').attach(rig.ioas);
    assert.equal(map(raw.at(0x8000)), 0);
    assert.equal(map(raw.at(0x8000)), 'EEXIST');
    using memory = DmaMemory.alloc(4096);
    const address = BigInt(mmap(memory.fd, page, 0n, prot.read));
    assert.equal(map(address, page, 6, 0x20_0000n), 'EFAULT');
    assert.equal(map(address, page, 4, 0x20_0000n), 0);
    assert.equal(observe(rig.ioas.unmap(0n, (1n << 64n) - 1n)), 2n * page);
    raw.call('munmap', address, page);
    await rig.device('engine').detach();
  });

  conformsBeside([], 'that fails leaves the IOVA as given', () => {
    for (const request of [0x3b85, 0x3b8f]) {
      const bytes = raw.words(40, 2, 9999, 0, 0n, page, 0x1234_5000n);
      assert.equal(observe(raw.ioctl(rig.iommufd.fd, request, bytes)), 'ENOENT');
      assert.equal(observe(bytes.readBigUInt64LE(32)), 0x1234_5000n);
    }
  });
});

describeRaw('structs of iommufd', () => {
  const rig = useRig('engine');
  conformsBeside([], 'of virtual IOMMUs and their queues may end early', () => {
    const sizes = (request: number, most: number) =>
      [...Array(most / 4 + 1).keys()].map((n) => {
        const bytes = Buffer.alloc(64);
        bytes.writeUInt32LE(4 * n);
        return observe(raw.ioctl(rig.iommufd.fd, request, bytes));
      });
    for (let request = 0x3b80; request <= 0x3b95; request += 1) sizes(request, 64);
  });
  conformsBeside([], 'a request of another size: ENOTTY, or EFAULT without an argument', () => {
    for (const request of [0x3b81, 0xc008_3b81, 0x3b80]) {
      observe(raw.call('ioctl', rig.iommufd.fd, request, 0x1000));
      observe(raw.ioctl(rig.iommufd.fd, request, raw.words(3, 0, 0)));
    }
  });
});

describeRaw('an iommufd that is closed', () => {
  useRig();
  conformsBeside([], 'destroys a device with its vDEVICE, in any order', () => {
    for (let round = 0; round < 3; round += 1) {
      const fd = Number(raw.open('/dev/iommu'));
      const ask = (request: number, answer: number, ...words: (number | bigint)[]): number => {
        const bytes = raw.words(...words);
        assert.equal(observe(raw.ioctl(fd, request, bytes)), 0);
        return bytes.readUInt32LE(answer);
      };
      const ioas = ask(0x3b81, 8, 12, 0, 0);
      const mock = raw.words(72, 2, ioas, ...Array<number>(15).fill(0)); // IOMMU_TEST_OP_MOCK_DOMAIN
      assert.equal(observe(raw.ioctl(fd, 0x3ba0, mock)), 0);
      const device = mock.readUInt32LE(24);
      const parent = ask(0x3b89, 16, 48, 1, device, ioas, 0, 0, 0, 0, 0n, 0, 0);
      const viommu = ask(0x3b90, 20, 40, 0, 0xdead_beef, device, parent, 0, 0, 0, 0n);
      ask(0x3b91, 12, 24, viommu, device, 0, 0x99n);
      observe(raw.call('close', fd));
    }
  });
});

describeRaw('a region of a device', () => {
  const rig = useRig('ssd', 'engine', 'display', 'ports');
  conformsBeside([], 'is moved by 0 bytes', () => {
    for (const role of ['ssd', 'display', 'ports'] as const) {
      for (const index of [0, 1, 2, 6, 7, 8, 9, 200]) {
        for (const offset of [0n, 0x10n, 0x1000_0000n]) {
          for (const name of ['pread', 'pwrite']) {
            observe(raw.call(name, rig.device(role).fd, raw.at(0), 0, barAt(index, offset)));
          }
        }
      }
    }
    assert.equal(raw.call('pread', rig.device('ssd').fd, raw.at(0), 0, barAt(2)), 0);
  });

  conformsBeside([], 'mapped keeps the device open after its last fd is closed', () => {
    const path = pathOf(addresses.display);
    const device = rig.device('display');
    const address = BigInt(mmap(device.fd, page, barAt(0)));
    assert(address > 0n);
    device.close();
    const again = Number(raw.open(path));
    const bind = () => raw.ioctl(again, 0x3b76, raw.words(16, 0, rig.iommufd.fd, 0));
    assert.equal(observe(bind()), 'EINVAL');
    raw.call('munmap', address, page);
    assert.equal(observe(bind()), 0);
    raw.call('close', again);
  });
});

describeRaw('two ioeventfds on one eventfd', () => {
  const rig = useRig('engine', 'ssd');
  conformsBeside([], 'write from the last to the first', () => {
    const bar = rig.device('engine').region(0);
    using eventfd = Eventfd.create();
    const rings = [1, 2, 3].map((value) => rig.keep(bar.ioeventfd({ offset: 0x80, width: 8, value, eventfd })));
    eventfd.signal();
    assert.equal(observe(bar.read64(0x80)), 1n);
    rings.forEach((ring) => ring.close());
  });
});

describeRaw('a PASID', () => {
  const rig = useRig('engine');
  conformsBeside([], '0, then no PASID: EBUSY', () => {
    const { fd } = rig.device('engine');
    const attach = (flags: number, pasid: number) =>
      observe(raw.ioctl(fd, 0x3b77, raw.words(16, flags, rig.ioas.id, pasid)));
    const detach = (flags: number, pasid: number) => observe(raw.ioctl(fd, 0x3b78, raw.words(12, flags, pasid)));
    attach(1, 0);
    attach(0, 0);
    attach(1, 1);
    detach(1, 0);
    detach(0, 0);
    detach(1, 1);
  });
});

describeRaw('a bound cdev', () => {
  const rig = useRig('engine');
  conformsBeside([], 'is bound again: EINVAL, before other checks', () => {
    const { fd } = rig.device('engine');
    for (const [argsz, flags, iommufd] of [
      [16, 0, rig.iommufd.fd],
      [16, 0, 9999],
      [16, 0, -1],
      [12, 0, 0],
      [16, 2, 0],
    ] as const) {
      assert.equal(observe(raw.ioctl(fd, 0x3b76, raw.words(argsz, flags, iommufd, 0))), 'EINVAL');
    }
    assert.equal(observe(raw.call('ioctl', fd, 0x3b76, 0x1000)), 'EFAULT');
  });
});

describeRaw('a mediated device', () => {
  const rig = useRig('serial');
  conformsBeside([], 'refuses interrupts beyond its range: EINVAL', () => {
    const { fd } = rig.device('serial');
    for (const index of [0, 1, 2, 3, 4, 5, 99]) {
      for (const [start, count] of [
        [0, 0],
        [0, 1],
        [1, 1],
        [0, 2],
        [0xffff_ffff, 2],
      ] as const) {
        for (const flags of [0x21, 0x22, 0x24, 0x09, 0x11, 0x39, 0]) {
          const bytes = raw.words(20 + 4 * Math.min(count, 4), flags, index, start, count, -1, -1);
          observe(raw.ioctl(fd, 0x3b6e, bytes));
        }
      }
    }
  });
});

describeRaw('files', () => {
  const rig = useRig('engine', 'ssd', 'serial');
  const dmaBufs = () => ({
    vfio: rig.exported('ssd', cmb.region, page).fd,
    udmabuf: rig.keep(rig.keep(DmaMemory.alloc(4096)).exportDmaBuf()).fd,
  });

  conformsBeside([], 'a dma-buf: read and write, and its name by either request', () => {
    for (const fd of Object.values(dmaBufs())) {
      for (const name of ['read', 'write']) assert.equal(observe(raw.call(name, fd, raw.at(0), 4)), 'EINVAL');
      for (const name of ['pread', 'pwrite']) observe(raw.call(name, fd, raw.at(0), 4, 0));
      observe(raw.call('ioctl', fd, 0x4004_6201, raw.at(0, Buffer.from('first\0'))));
      raw.call('fdinfo', fd, raw.at(0x100), 512);
      observe(raw.call('ioctl', fd, 0x4008_6201, raw.at(0, Buffer.from('second\0'))));
    }
  });

  conformsBeside([], 'of a dma-heap: read and write as the access mode says', () => {
    const heap = Number(raw.open('/dev/dma_heap/system'));
    for (const mode of [0, 1, 2]) {
      const bytes = raw.words(4096n, 0, mode, 0n);
      assert.equal(observe(raw.ioctl(heap, 0xc018_4800, bytes)), 0);
      const fd = bytes.readUInt32LE(8);
      for (const name of ['read', 'write']) observe(raw.call(name, fd, raw.at(0), 4));
      for (const name of ['pread', 'pwrite']) observe(raw.call(name, fd, raw.at(0), 4, 0));
      for (const size of [0xc018_4800, 0xc008_4800, 0xc020_4800, 0x4800, 0xc018_4801]) {
        observe(raw.call('ioctl', heap, size, raw.at(0x100, raw.words(4096n, 0, 9, 0n, 0n))));
      }
      raw.call('close', fd);
    }
    raw.call('close', heap);
  });

  conformsBeside([], 'calls that a file does not have', () => {
    const eventfd = rig.keep(Eventfd.create());
    const group = Number(raw.open(`/dev/vfio/${String(groupOf('display'))}`));
    const others = ['/dev/vfio/vfio', '/dev/udmabuf', '/dev/dma_heap/system'].map((path) => Number(raw.open(path)));
    const unbound = Number(raw.open(pathOf(addresses.display)));
    const own = [rig.iommufd.fd, rig.device('engine').fd, rig.device('serial').fd, unbound, group, eventfd.fd];
    for (const fd of [...own, ...others, ...Object.values(dmaBufs())]) {
      for (const name of ['read', 'write']) {
        if (fd !== eventfd.fd) observe([name, raw.call(name, fd, raw.at(0), 4), raw.call(name, fd, raw.at(0), 0)]);
      }
      for (const name of ['pread', 'pwrite']) {
        observe([name, raw.call(name, fd, raw.at(0), 4, 1n << 50n), raw.call(name, fd, raw.at(0), 0, 1n << 50n)]);
      }
      observe(['lseek', ...[0, 1, 2].map((whence) => raw.call('lseek', fd, 0, whence))]);
      observe(['poll', raw.call('poll', fd, 0x05)]);
      for (const [length, offset, protection, flags] of [
        [page, 0n, 3, 1],
        [page, 0n, 3, 2],
        [page, 1n << 50n, 1, 1],
        [0n, 0n, 3, 1],
        [page, 1n, 3, 1],
      ] as const) {
        const result = mmap(fd, length, offset, protection, flags);
        if (typeof result === 'number') raw.call('munmap', result, length);
        observe(['mmap', typeof result === 'number' ? 'address' : result]);
      }
      for (const request of [0x1234, 0x3b64, 0x3b6b, 0x3b80, 0x6200]) {
        observe(['ioctl', request, raw.call('ioctl', fd, request, 0x1000)]);
      }
      const result = raw.call('fstat', fd, raw.at(0));
      const mode = raw.memory().readUInt32LE(24);
      observe(['fstat', result, mode >> 12, raw.memory().readBigUInt64LE(40) !== 0n]);
    }
    for (const fd of [group, unbound, ...others]) raw.call('close', fd);
  });

  conformsBeside([], 'a udmabuf over its limit, or beyond its memory', () => {
    const driver = Number(raw.open('/dev/udmabuf'));
    using memory = DmaMemory.alloc(4096);
    for (const size of [0n, 1n, page, 2n * page, 64n << 20n, 1n << 62n, 0xffff_ffff_ffff_f000n]) {
      for (const offset of [0n, page, 1n, 0xffff_ffff_ffff_f000n]) {
        const result = raw.ioctl(driver, 0x4018_7542, raw.words(memory.fd, 1, offset, size));
        if (typeof result === 'number') raw.call('close', result);
        observe([size, offset, typeof result === 'number' ? 'fd' : result]);
      }
    }
    raw.call('close', driver);
  });
});

describeRaw('config space', () => {
  const rig = useRig('ssd', 'engine', 'display', 'ports', 'disk', 'physical', 'twin0', 'twin1');
  for (const role of ['ssd', 'engine', 'display', 'ports', 'disk', 'physical', 'twin0', 'twin1'] as const) {
    conformsBeside([], `of ${role}: which bits can be written`, () => {
      const { config } = rig.device(role);
      const capabilities = rig.device(role).pciCapabilities();
      const offsetOf = (type: string) => capabilities.find((capability) => capability.type === type)?.offset ?? 0x1000;
      const power = offsetOf('power-management') + 4;
      const control = offsetOf('pci-express') + 8;
      const seen: string[] = [];
      const isBar = (offset: number) => (offset >= 0x10 && offset < 0x28) || offset === 0x32;
      for (let offset = 0; offset < Math.min(Number(config.size), 0x200); offset += 2) {
        if (offset === 4 || offset === power || (role === 'physical' && offset >= 0x120)) continue; // state, addresses
        const before = config.read16(offset);
        config.write16(offset, offset === control ? 0x7fff : 0xffff);
        const ones = config.read16(offset);
        config.write16(offset, 0);
        const zeros = config.read16(offset);
        config.write16(offset, before);
        const values = [isBar(offset) ? 0 : before, ones, zeros, isBar(offset) ? 0 : config.read16(offset)];
        seen.push(`${offset.toString(16)}: ${values.map((value) => value.toString(16)).join(' ')}`);
      }
      observe(seen.filter((line) => !line.endsWith(': 0 0 0 0')));
      assert(seen.length > 100);
    });
  }
});

describeRaw('a group that leaves an iommufd while a device is open', () => {
  const rig = useRig();
  conformsBeside([], 'stays owned until the device is closed', () => {
    const path = `/dev/vfio/${String(groupOf('ports'))}`;
    const container = Number(raw.open('/dev/vfio/vfio'));
    const other = Number(raw.open('/dev/iommu'));
    let group = Number(raw.open(path));
    const status = () => {
      const bytes = raw.words(8, 0);
      return [observe(raw.ioctl(group, 0x3b67, bytes)), observe(bytes.readUInt32LE(4))];
    };
    const set = (fd: number) => observe(raw.ioctl(group, 0x3b68, raw.words(fd)));
    const unset = () => observe(raw.call('ioctl', group, 0x3b69, 0));
    assert.deepEqual(status(), [0, 1]);
    assert.equal(set(rig.iommufd.fd), 0);
    const device = Number(raw.ioctl(group, 0x3b6a, Buffer.from(`${addresses.ports}\0`)));
    assert(device > 2);
    assert.deepEqual(status(), [0, 3]);
    assert.equal(unset(), 0);
    assert.deepEqual(status(), [0, 0]);
    assert.equal(set(container), 'EPERM');
    assert.equal(set(other), 0);
    assert.deepEqual(status(), [0, 3]);
    raw.call('close', group);
    group = Number(raw.open(path));
    assert.deepEqual(status(), [0, 0]);
    raw.call('close', device);
    assert.deepEqual(status(), [0, 1]);
    for (const fd of [group, other, container]) raw.call('close', fd);
  });
});
