// Messages and hints of errors. test/conformance has those of the kernel; the cases here need another machine, user or
// limit than the one that the tests run on.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { DmaMemory, Iommufd, KernelError, VfioDevice, type DmaBuf, type Ioas } from '../../lib';
import type { Arguments, Around } from '../../lib/errors/around';
import { amount } from '../../lib/hints/causes/amounts';
import { udevRule } from '../../lib/hints/causes/open';
import { FakeKernel } from '../../lib/fake';
import { hintFor, hints } from '../../lib/hints';
import { key } from '../../lib/errors/key';
import { itNeeds, prlimit, superuser, type Need } from '../needs';
import { typescript } from '../typescript';

const page = 4096n;

/** The library's error for a call that the kernel refused with `code`. */
function failed(call: string, code: string, args: Arguments = {}, around: Around = {}): KernelError {
  const errno = constants.errno[code as keyof typeof constants.errno];
  const [syscall, ioctl] = /^[A-Z]/.test(call) ? ['ioctl', call] : [call, undefined];
  return new KernelError(
    key,
    Object.assign(new Error(code), { errno, syscall, ...(ioctl && { ioctl }) }),
    { ...args },
    around,
  );
}

function caught(call: () => unknown): KernelError {
  try {
    call();
  } catch (error) {
    assert(error instanceof KernelError, String(error));
    return error;
  }
  assert.fail('it succeeded');
}

/** A statement that loads the addon, which another user may not be allowed to read. */
const loadAddon = `require(${JSON.stringify(join(__dirname, '../../lib/addon/native'))}).native.pageSize;`;

describe('hints', () => {
  const iommufd = ['ENOTTY', 'E2BIG', 'EOPNOTSUPP', 'EINVAL', 'ENOENT', 'ENOMEM', 'EOVERFLOW', 'EBUSY'];
  // Every call and errno that has a known cause in the kernel.
  const rows: Record<string, string[]> = {
    open: ['ENOENT', 'EACCES', 'EPERM', 'ENODEV', 'EMFILE'],
    VFIO_DEVICE_BIND_IOMMUFD: ['EINVAL', 'EBUSY', 'EPERM', 'EACCES', 'EAGAIN', 'EBADF', 'EBADFD', 'ENOTTY'],
    VFIO_DEVICE_ATTACH_IOMMUFD_PT: ['EINVAL', 'ENOENT', 'EADDRINUSE', 'EBUSY', 'ENOMEM', 'EFAULT'],
    VFIO_DEVICE_DETACH_IOMMUFD_PT: ['EINVAL'],
    VFIO_DEVICE_GET_INFO: ['EINVAL', 'ENOTTY'],
    VFIO_DEVICE_GET_REGION_INFO: ['EINVAL'],
    VFIO_DEVICE_GET_IRQ_INFO: ['EINVAL'],
    VFIO_DEVICE_SET_IRQS: ['EINVAL'],
    VFIO_DEVICE_RESET: ['EINVAL', 'EAGAIN', 'ENOTTY'],
    VFIO_DEVICE_FEATURE: ['EINVAL', 'ENOTTY'],
    VFIO_DEVICE_FEATURE_DMA_BUF: ['EINVAL', 'ENODEV', 'EOVERFLOW', 'EOPNOTSUPP', 'ENOTTY', 'EMFILE', 'ENOMEM'],
    IOMMU_IOAS_ALLOC: iommufd,
    IOMMU_IOAS_MAP: [...iommufd, 'EFAULT', 'EEXIST', 'ENOSPC'],
    IOMMU_IOAS_MAP_FILE: [...iommufd, 'ENODEV', 'EEXIST', 'ENOSPC', 'EBADF'],
    IOMMU_IOAS_COPY: iommufd,
    IOMMU_IOAS_UNMAP: iommufd,
    IOMMU_IOAS_IOVA_RANGES: [...iommufd, 'EMSGSIZE'],
    IOMMU_IOAS_CHANGE_PROCESS: iommufd,
    IOMMU_HWPT_ALLOC: iommufd,
    IOMMU_DESTROY: iommufd,
    DMA_BUF_IOCTL_SYNC: ['EINVAL', 'EINTR', 'ENOTTY'],
    DMA_BUF_SET_NAME: ['EINVAL'],
    UDMABUF_CREATE: ['EINVAL', 'EBADFD'],
    lseek: ['EINVAL'],
    mmap: ['EINVAL', 'ENOMEM', 'EBUSY'],
    pread: ['EINVAL', 'EIO', 'EFAULT'],
    pwrite: ['EINVAL', 'EIO', 'EFAULT'],
    memfd_create: ['ENODEV', 'EMFILE'],
    fcntl: ['EBADF', 'EMFILE'],
  };
  for (const [call, codes] of Object.entries(rows)) {
    it(`exist for every error of ${call}`, () => {
      for (const code of codes) assert.match(hintFor(call, code, {}, {}) ?? '', /\w{3}/, `${call} ${code}`);
    });
  }

  it('never throw, whatever they are told and wherever they look', () => {
    const hostile = new Proxy(
      {},
      { get: (_, name) => (name === Symbol.toPrimitive ? undefined : assert.fail('looked')) },
    );
    const nowhere = { sysfs: '/nonexistent', devices: new Map() } as never;
    const arounds = [
      {},
      { kernel: nowhere, words: new BigUint64Array(2), isBound: () => false },
      { kernel: hostile, ioas: hostile, dmaBuf: hostile, words: hostile, isBound: () => assert.fail('looked') },
    ];
    const args = [
      {},
      {
        path: '/dev/iommu',
        device: '0000:00:00.0',
        region: 0,
        iova: 0n,
        offset: 0n,
        length: 1n,
        fd: -1,
        exporter: 'x',
      },
      { path: 7, device: {}, region: 'a', iova: 'b', offset: null, length: 'c', fd: {}, exporter: 5 },
    ];
    for (const [call, codes] of Object.entries(hints)) {
      for (const code of Object.keys(codes)) {
        for (const given of args) {
          for (const around of arounds) {
            assert.equal(typeof hintFor(call, code, given as never, around as never), 'string', `${call} ${code}`);
          }
        }
      }
    }
  });

  it('are part of the message, and what was looked at is not', () => {
    const error = failed(
      'IOMMU_IOAS_MAP',
      'EEXIST',
      { iova: 0x1000n, length: page },
      { ioas: { mappings: [] } as never },
    );
    assert.equal(error.code, 'EEXIST');
    assert.equal(error.errno, -17);
    assert.deepEqual(error.args, { iova: 0x1000n, length: page });
    assert.match(error.message, /^EEXIST: .*ioctl IOMMU_IOAS_MAP \(iova 0x1000, length 0x1000\): something is mapped/);
  });
});

describe('errors of opening', () => {
  const root = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-errors-'));
  after(() => rmSync(root, { recursive: true }));
  const hintOf = (code: string, path: string) => failed('open', code, { path }, { kernel: { sysfs: root } }).hint ?? '';
  const shows = (path: string) => mkdirSync(join(root, 'class', path), { recursive: true });

  it('tell a kernel without IOMMUFD from a container that was not given it', () => {
    assert.match(hintOf('ENOENT', '/dev/iommu'), /no IOMMUFD \(CONFIG_IOMMUFD|modprobe iommufd/);
    shows('misc/iommu');
    assert.match(hintOf('ENOENT', '/dev/iommu'), /container.*--device \/dev\/iommu/);
  });

  it('tell a device that left vfio-pci from a kernel without character devices, and from a container', () => {
    shows('vfio-dev/vfio4');
    assert.match(hintOf('ENOENT', '/dev/vfio/devices/vfio3'), /no device vfio3, only vfio4/);
    assert.match(hintOf('ENOENT', '/dev/vfio/devices/vfio4'), /CONFIG_VFIO_DEVICE_CDEV/);
    writeFileSync(join(root, 'class/vfio-dev/vfio4/dev'), '511:4\n');
    assert.match(hintOf('ENOENT', '/dev/vfio/devices/vfio4'), /container.*--device \/dev\/vfio\/devices\/vfio4/);
  });

  itNeeds([superuser], 'tell who may open the file, and give a udev rule', () => {
    const path = join(root, 'iommu');
    writeFileSync(path, '');
    chownSync(path, 0, 4242);
    chmodSync(path, 0o640);
    chmodSync(root, 0o711);
    const program = `
      const { Iommufd } = require(${JSON.stringify(join(__dirname, '../../lib'))});
      ${loadAddon}
      process.setgroups([]);
      process.setgid(65534);
      process.setuid(65534);
      try {
        Iommufd.open({ path: ${JSON.stringify(path)} });
      } catch (error) {
        console.log(error.code, error.hint);
      }
    `;
    const child = spawnSync(process.execPath, [...typescript, '-e', program], {
      env: { ...process.env, VFIO_DMABUF_KERNEL: 'system' },
      encoding: 'utf8',
    });
    const expected =
      /^EACCES .*iommu belongs to root:4242 with mode 0640, and this process is user nobody of group \w+$/m;
    assert.match(child.stdout, expected, child.stderr);
  });

  it('give commands with a udev rule that sh takes', () => {
    // A character device that everybody may open, so only a security module could refuse it.
    assert.match(
      hintOf('EACCES', '/dev/null'),
      /\/dev\/null belongs to \S+ with mode 0\d+, which allows it: a security module/,
    );
    for (const [path, rule] of [
      ['/dev/vfio/devices/vfio0', 'SUBSYSTEM=="vfio-dev", GROUP="kvm", MODE="0660"'],
      ['/dev/iommu', 'SUBSYSTEM=="misc", KERNEL=="iommu", GROUP="kvm", MODE="0660"'],
      ['/dev/other', 'KERNEL=="other", GROUP="kvm", MODE="0660"'],
    ] as const) {
      const commands = udevRule(path, 'kvm');
      assert(commands.startsWith(`echo '${rule}' > /etc/udev/rules.d/70-`), commands);
      assert.equal(spawnSync('/bin/sh', ['-n', '-c', commands]).status, 0);
    }
  });
});

describe('a device that VFIO does not have', () => {
  let kernel: FakeKernel;
  beforeEach(() => {
    kernel = new FakeKernel();
  });
  afterEach(() => kernel.close());
  const folder = (role = 'engine') => join(kernel.sysfs, 'bus/pci/devices', kernel.addressOf(role));
  const refused = () => {
    let message = '';
    assert.throws(
      () => VfioDevice.openSync(kernel.addressOf('engine'), { kernel }),
      (error: Error & { code: string }) => ((message = error.message), error.code === 'ERR_NOT_BOUND_TO_VFIO'),
    );
    return message;
  };
  const drive = (driver: string | undefined, role = 'engine') => {
    unlinkSync(join(folder(role), 'driver'));
    rmSync(join(folder(role), 'vfio-dev'), { recursive: true });
    if (driver === undefined) return;
    mkdirSync(join(kernel.sysfs, 'bus/pci/drivers', driver), { recursive: true });
    symlinkSync(join(kernel.sysfs, 'bus/pci/drivers', driver), join(folder(role), 'driver'));
  };

  it('is taken from its driver by the commands in the message', () => {
    drive('nvme');
    const [, commands = ''] = /bound to nvme, not to vfio-pci\. To change that, as root: (.*)$/.exec(refused()) ?? [];
    const address = kernel.addressOf('engine');
    const device = `${kernel.sysfs}/bus/pci/devices/${address}`;
    assert.equal(
      commands,
      `echo vfio-pci > ${device}/driver_override; echo ${address} > ${device}/driver/unbind; ` +
        `echo ${address} > ${kernel.sysfs}/bus/pci/drivers_probe`,
    );
    assert.equal(spawnSync('/bin/sh', ['-n', '-c', commands]).status, 0);
  });

  it('needs no unbinding without a driver, and the module first where that is not loaded', () => {
    drive(undefined);
    rmSync(join(kernel.sysfs, 'bus/pci/drivers/vfio-pci'), { recursive: true });
    assert.match(
      refused(),
      /no driver.*root: modprobe vfio-pci; echo vfio-pci > .*override; echo \S+ > .+drivers_probe$/,
    );
  });

  it('has no IOMMU: none is on, or it is behind none', () => {
    drive('nvme');
    unlinkSync(join(folder(), 'iommu_group'));
    unlinkSync(join(kernel.sysfs, 'class/iommu/dmar0'));
    assert.match(refused(), /no IOMMU is on \(.*class\/iommu is empty\).*intel_iommu=on/);
    // The IOMMU of the kernel's selftest, which exists independently of the hardware.
    mkdirSync(join(kernel.sysfs, 'class/iommu/iommufd_selftest_iommu.0'), { recursive: true });
    assert.match(refused(), /class\/iommu is empty/);
    mkdirSync(join(kernel.sysfs, 'class/iommu/dmar0'), { recursive: true });
    assert.match(refused(), /behind none of this machine's IOMMUs \(dmar0\)/);
  });

  it('cannot be bound: the hint names the device of the group that is in the way, or the interrupts', () => {
    const args = { device: kernel.addressOf('engine') };
    const hint = () => failed('VFIO_DEVICE_BIND_IOMMUFD', 'EPERM', args, { kernel }).hint ?? '';
    assert.match(hint(), /^the interrupts .*not isolated.*allow_unsafe_interrupts/);
    symlinkSync(folder('ssd'), join(folder(), 'iommu_group/devices', kernel.addressOf('ssd')));
    assert.match(hint(), /0000:01:00\.0\) is bound to another iommufd.*; or the interrupts/);
    mkdirSync(join(kernel.sysfs, 'module/iommufd/parameters'), { recursive: true });
    writeFileSync(join(kernel.sysfs, 'module/iommufd/parameters/allow_unsafe_interrupts'), 'Y\n');
    assert.doesNotMatch(hint(), /interrupts/);
    drive('nvme', 'ssd');
    assert.match(hint(), /group \d+ is not viable: driver nvme has 0000:01:00\.0.*echo 0000:01:00\.0 > .+unbind/);
    assert.match(failed('VFIO_DEVICE_BIND_IOMMUFD', 'EBUSY', args, { kernel }).hint ?? '', /fuser -v \/dev\/vfio\/\d+/);
  });

  it('cannot be bound: it is bound already, cannot be enabled, or the IOMMU is gone', () => {
    const args = { device: kernel.addressOf('engine') };
    const hint = (isBound = false) =>
      failed('VFIO_DEVICE_BIND_IOMMUFD', 'EINVAL', args, { kernel, isBound: () => isBound }).hint ?? '';
    assert.match(hint(), /another open .* `fuser -v \/dev\/vfio\/devices\/vfio2`/);
    assert.match(hint(true), /bound already, by this object/);
    writeFileSync(join(folder(), 'resource'), `${'0x0 0x0 0x0\n'.repeat(2)}0x0 0xfff 0x20040200\n`);
    assert.match(hint(), /BAR 2 of the device has no bus address/);
    unlinkSync(join(folder(), 'iommu_group'));
    unlinkSync(join(kernel.sysfs, 'class/iommu/dmar0'));
    assert.match(hint(), /no IOMMU is on/);
  });
});

describe('errors of mapping', () => {
  let kernel: FakeKernel;
  let iommufd: Iommufd;
  let ioas: Ioas;
  let ssd: VfioDevice;
  beforeEach(() => {
    kernel = new FakeKernel();
    iommufd = Iommufd.open({ kernel });
    ioas = iommufd.allocIoas();
    ssd = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
    ssd.attachSync(ioas);
  });
  afterEach(() => {
    iommufd.close();
    kernel.close();
  });
  const exported = () => ssd.exportDmaBuf({ region: 2, offset: 0n, length: 0x10_0000n });

  it('say which demand on the IOVAs is not met', () => {
    const map = (opts: object) => caught(() => ioas.mapDmaBuf(exported(), opts)).hint ?? '';
    assert.match(map({ iova: 0x100n }), /^iova 0x100 is not a multiple of the IOAS's alignment, 0x1000$/);
    assert.match(map({ iova: 0n, length: 100 }), /^length 0x64 is not a multiple/);
    assert.match(map({ offset: 100, length: page }), /^offset 0x64 is not a multiple/);
    assert.match(
      map({ iova: 0xfedf_f000n }),
      /^IOVAs 0xfedff000-0xfeefefff are not inside .*: 0x0-0xfedfffff, 0xfef00000-0x7fffffffff\. They narrow/,
    );
    assert.match(map({ iova: 0xffff_ffff_ffff_f000n }), /iova plus length must stay below 2\^64/);
  });

  it('name the mapping that is in the way, or that the range cuts', () => {
    ioas.mapDmaBuf(exported(), { iova: 0x10_0000n });
    const other = caught(() => ioas.mapDmaBuf(exported(), { iova: 0x1f_f000n }));
    assert.match(other.hint ?? '', /^the mapping at IOVAs 0x100000-0x1fffff is in the way/);
    assert.match(
      caught(() => ioas.unmap(0x18_0000n, 0x8_0000n)).hint ?? '',
      /^the range cuts the mapping at IOVAs 0x100000-/,
    );
    assert.match(caught(() => ioas.unmap(0x80_0000n, page)).hint ?? '', /^nothing is mapped there/);
  });

  it('tell a file that is too short from one that is no memfd', () => {
    using memory = DmaMemory.alloc(4096, { kernel });
    const long = caught(() => ioas.mapFileSync(memory.fd, { length: 8192 }));
    assert.match(long.hint ?? '', /^offset plus length, 0x2000, reaches past the end of the memfd, 0x1000$/);
    const fd = openSync(__filename, 'r');
    try {
      const around = { ioas };
      const { hint } = failed('IOMMU_IOAS_MAP_FILE', 'EINVAL', { fd, offset: 0n, length: page }, around);
      assert.match(hint ?? '', /^the file is no memfd/);
    } finally {
      closeSync(fd);
    }
  });

  it('say how large the largest range is', () => {
    using memory = DmaMemory.alloc(4096, { kernel });
    const error = caught(() => ioas.mapFileSync(memory.fd, { length: 1n << 40n }));
    assert.match(error.hint ?? '', /largest usable range is 0x7f01100000 long: shorter than length 0x10000000000/);
  });

  it('name the exporter, and tell a revoked dma-buf from a dead one', () => {
    using memory = DmaMemory.alloc(4096, { kernel });
    using host = memory.exportDmaBuf();
    assert.match(caught(() => ioas.mapDmaBuf(host)).hint ?? '', /^the dma-buf is from udmabuf/);
    const dmaBuf = exported();
    ssd.command.memory = false;
    assert.match(caught(() => ioas.mapDmaBuf(dmaBuf)).hint ?? '', /^the dma-buf is revoked: .*memory space off/);
    ssd.close();
    assert.match(caught(() => ioas.mapDmaBuf(dmaBuf)).hint ?? '', /^the dma-buf is dead: /);
  });

  it('come out whole when the dma-buf cannot be looked at', () => {
    const dmaBuf: DmaBuf = exported();
    Object.defineProperty(dmaBuf, 'exporterName', {
      get: () => {
        throw new Error('too many open files');
      },
    });
    const error = caught(() => ioas.mapDmaBuf(dmaBuf, { iova: 1n }));
    assert.equal(error.code, 'EINVAL');
    assert.equal(error.args['exporter'], undefined);
  });

  it('name the mapping that a device cannot have', () => {
    const other = iommufd.allocIoas();
    other.mapDmaBuf(exported(), { iova: 0xfee0_0000n });
    const error = caught(() => ssd.attachSync(other));
    assert.match(
      error.hint ?? '',
      /^the mapping at IOVAs 0xfee00000-0xfeefffff lies in .*: 0xfee00000-0xfeefffff \(msi\)/,
    );
  });

  it('refuse a region where memory is wanted, and say what to do', async () => {
    const region = ssd.region(2);
    using mapped = region.map();
    for (const wrong of [ssd, region, mapped]) {
      const expected = {
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_TYPE',
        message: /BAR cannot be pinned.*mapDmaBuf\(\)/,
      };
      assert.throws(() => ioas.mapMemorySync(wrong as never), expected);
      await assert.rejects(ioas.mapMemory(wrong as never), expected);
    }
  });

  it('of an export say which range is wrong, and how', () => {
    const wrong = (ranges: [bigint, bigint][], region = 2, device = ssd) =>
      caught(() => device.exportDmaBuf({ region, ranges: ranges.map(([offset, length]) => ({ offset, length })) }))
        .hint ?? '';
    assert.match(wrong([]), /^no range/);
    assert.match(
      wrong([
        [0n, page],
        [0n, 0n],
      ]),
      /^range 1 .* is empty/,
    );
    assert.match(wrong([[1n, page]]), /^range 0 \(offset 0x1, length 0x1000\) is not page aligned/);
    assert.match(wrong([[0x100_0000n, page]]), /past the end of BAR 2, 0x1000000$/);
    assert.match(wrong([[0n, page]], 3), /no BAR 3/);
    assert.match(wrong([[0n, page]], 7), /region 7 is no BAR/);
    using ports = VfioDevice.openSync(kernel.addressOf('ports'), { iommufd });
    assert.match(wrong([[0n, page]], 1, ports), /BAR 1 is I\/O ports/);
    using unbound = VfioDevice.openSync(kernel.addressOf('engine'), { kernel });
    assert.match(wrong([[0n, page]], 0, unbound), /not bound to an iommufd: bind\(\) first/);
  });
});

describe('the limit of locked memory', () => {
  /** The hint that a child process under a limit prints, with or without CAP_IPC_LOCK. */
  function told(limit: string, length: bigint, user: 'root' | 'nobody', attached = true): string {
    const program = `
      const { hintFor } = require(${JSON.stringify(join(__dirname, '../../lib/hints'))});
      const ioas = { iovaRanges: () => ({ ranges: [], alignment: ${attached ? '4096n' : '1n'} }) };
      ${loadAddon}
      if (${user === 'nobody'}) { process.setgroups([]); process.setgid(65534); process.setuid(65534); }
      console.log(hintFor('IOMMU_IOAS_MAP', 'ENOMEM', { length: ${length}n }, { ioas }));
    `;
    const child = spawnSync('prlimit', [`--memlock=${limit}`, process.execPath, ...typescript, '-e', program], {
      encoding: 'utf8',
    });
    assert.equal(child.status, 0, child.stderr);
    return child.stdout;
  }
  const allows = (limit: string) => spawnSync('prlimit', [`--memlock=${limit}`, 'true']).status === 0;
  const limits: Need = () => (allows('8388608:8388608') ? undefined : 'RLIMIT_MEMLOCK cannot be 8 MiB here');
  const needs = [superuser, prlimit, limits];

  itNeeds(needs, 'is named with what there is and what is needed', () =>
    assert.match(
      told('1048576:1048576', 8_388_609n, 'nobody'),
      /^RLIMIT_MEMLOCK is 1048576 bytes \(1\.0 MiB\); this process has 0 bytes \(0\.0 MiB\) pinned, and this needs 8392704 bytes \(8\.0 MiB\) more\. Raise the limit to 8392704 .*`ulimit -l 8196`/,
    ),
  );

  itNeeds(needs, 'is not blamed when it is unlimited, large enough, or lifted, or nothing is pinned', () => {
    const notTheCause = /RLIMIT_MEMLOCK is not the cause/;
    const unlimited = 'unlimited:unlimited';
    if (allows(unlimited)) assert.match(told(unlimited, 1n << 40n, 'nobody'), notTheCause);
    assert.match(told('8388608:8388608', page, 'nobody'), /^the kernel, .*no memory left.* within it/);
    assert.match(told('4096:4096', 1n << 30n, 'nobody', false), /^the kernel.*no memory left$/m);
    const capable = /^CapEff:.*[4567cdef]...$/m.test(readFileSync('/proc/self/status', 'latin1'));
    if (capable) assert.match(told('4096:4096', 1n << 30n, 'root'), notTheCause);
  });

  it('is written in bytes and MiB', () => {
    assert.equal(amount(8_388_608n), '8388608 bytes (8.0 MiB)');
    assert.equal(amount(3n << 19n), '1572864 bytes (1.5 MiB)');
    assert.equal(amount(123n << 30n), '132070244352 bytes (125952.0 MiB)');
  });
});
