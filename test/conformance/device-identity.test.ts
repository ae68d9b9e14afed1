// Nodes in /dev that now belong to another device.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  DmaBuf,
  DmaHeap,
  DmaMemory,
  Iommufd,
  PeerSpace,
  planUnbind,
  VfioContainer,
  VfioDevice,
  VfioGroup,
} from '../../lib';
import { defaultKernel } from '../../lib/kernel/default-kernel';
import { FakeKernel } from '../../lib/fake';
import { temporaryFolder } from '../cleanup';
import { conforms, conformsOnlyOn, observe, onFake, refuses, unlessFailing } from './record';
import { addresses } from './rig';

const sysfs = () => defaultKernel().sysfs;

interface Cdev {
  path: string;
  number: string;
}

function cdevOf(address: string, bus = 'pci'): Cdev {
  const folder = join(sysfs(), `bus/${bus}/devices`, address, 'vfio-dev');
  const [name = ''] = readdirSync(folder);
  return { path: `/dev/vfio/devices/${name}`, number: readFileSync(join(folder, name, 'dev'), 'utf8').trim() };
}

function groupOf(address: string): { number: number; path: string } {
  const number = Number(basename(readlinkSync(join(sysfs(), 'bus/pci/devices', address, 'iommu_group'))));
  return { number, path: `/dev/vfio/${String(number)}` };
}

/** Runs `body` while an open of `path` opens the file at `target`. */
async function replacing(path: string, target: string, body: () => unknown): Promise<void> {
  const kernel = defaultKernel();
  const put = (by: string) => {
    if (kernel instanceof FakeKernel) kernel.replaceNode(path, by);
    else if (by === path) execFileSync('umount', [path]);
    else execFileSync('mount', ['--bind', by, path]);
  };
  put(target);
  try {
    await body();
  } finally {
    put(path);
  }
}

async function refusesNode(numbers: string[], call: () => unknown): Promise<void> {
  const { code, message } = await refuses('ERR_WRONG_NODE', call);
  if (code !== 'ERR_WRONG_NODE') return;
  for (const number of numbers) assert(message.includes(` ${number}`), message);
}

describe("a node that is another device's", () => {
  const ways: [title: string, address: string, bus: string][] = [
    ['a PCI device', addresses.engine, 'pci'],
    ['a mediated device', addresses.serial, 'mdev'],
  ];
  for (const [title, address, bus] of ways) {
    conforms(`${title} is not opened by its address: ERR_WRONG_NODE, and both numbers`, async () => {
      const [own, other] = [cdevOf(address, bus), cdevOf(addresses.display)];
      await replacing(own.path, other.path, async () => {
        using iommufd = Iommufd.open();
        const numbers = [own.number, other.number];
        await refusesNode(numbers, () => VfioDevice.open(address, { iommufd }));
        await refusesNode(numbers, () => VfioDevice.openSync(address, { iommufd }));
        await refusesNode(numbers, () => VfioDevice.open(address, { through: 'cdev' }));
      });
      using device = await VfioDevice.open(address);
      assert.equal(observe(device.address), address);
    });
  }

  conforms('opened by its path, it is the device that its number says', async () => {
    const [own, other] = [cdevOf(addresses.engine), cdevOf(addresses.display)];
    await replacing(own.path, other.path, async () => {
      using iommufd = Iommufd.open();
      using device = await VfioDevice.open(own.path, { iommufd });
      observe(device.address);
      unlessFailing(() => assert.equal(device.address, addresses.display));
      assert.equal(observe(device.config.read32(0)), 0x1111_1234);
    });
  });

  conforms('a path or an fd with the address that it must be', async () => {
    const { path } = cdevOf(addresses.engine);
    using byPath = await VfioDevice.open(path, { address: addresses.engine });
    using byFd = VfioDevice.openSync(byPath.fd, { address: addresses.engine });
    observe(byFd.address);
    await refuses('ERR_WRONG_NODE', () => VfioDevice.open(path, { address: addresses.display }));
    await refuses('ERR_WRONG_NODE', () => VfioDevice.openSync(path, { address: addresses.display }));
    await refuses('ERR_WRONG_NODE', () => VfioDevice.open(byPath.fd, { address: addresses.display }));
    using memory = DmaMemory.alloc(4096);
    await refuses('ERR_WRONG_NODE', () => VfioDevice.open(memory.fd, { address: addresses.engine }));
    await refuses('ERR_OUT_OF_RANGE', () => VfioDevice.open(path, { address: 'engine' }));
    await refuses('ERR_INVALID_ARG_TYPE', () => VfioDevice.open(path, { address: 3 as unknown as string }));
  });

  conforms('of an IOMMU group', async () => {
    const [own, other] = [groupOf(addresses.engine), groupOf(addresses.display)];
    await replacing(own.path, other.path, async () => {
      await refuses('ERR_WRONG_NODE', () => VfioGroup.open(own.number));
      await refuses('ERR_WRONG_NODE', () => VfioGroup.open(own.path));
      await refuses('ERR_WRONG_NODE', () => VfioDevice.open(addresses.engine, { through: 'group' }));
      await refuses('ERR_WRONG_NODE', () => VfioDevice.openSync(addresses.engine, { through: 'group' }));
    });
    using group = VfioGroup.open(own.number);
    assert.equal(observe(group.status().viable), true);
  });

  conforms('a path whose group is asked for: the group of the device that it is', async () => {
    const [own, other] = [cdevOf(addresses.engine), cdevOf(addresses.display)];
    await replacing(own.path, other.path, async () => {
      using device = await VfioDevice.open(own.path, { through: 'group' });
      assert.equal(observe(device.address), addresses.display);
    });
  });

  const drivers: [path: string, other: string, open: () => { close(): void }][] = [
    ['/dev/iommu', '/dev/vfio/vfio', () => Iommufd.open()],
    ['/dev/vfio/vfio', '/dev/iommu', () => VfioContainer.open()],
    ['/dev/dma_heap/system', '/dev/udmabuf', () => DmaHeap.open()],
    [
      '/dev/udmabuf',
      '/dev/iommu',
      () => {
        using memory = DmaMemory.alloc(4096);
        return memory.exportDmaBuf();
      },
    ],
    [
      '/dev/udmabuf',
      '/dev/dma_heap/system',
      () => {
        using memory = DmaMemory.alloc(4096);
        return DmaBuf.fromMemory([{ memory }]);
      },
    ],
  ];
  for (const [path, other, open] of drivers) {
    conforms(`${path} in whose place is ${other}`, async () => {
      await replacing(path, other, () => refuses('ERR_WRONG_NODE', open));
      open().close();
    });
  }

  conforms('a regular file in the place of a node', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'file');
    writeFileSync(file, '');
    await replacing(cdevOf(addresses.engine).path, file, () =>
      refusesNode([cdevOf(addresses.engine).number], () => VfioDevice.open(addresses.engine)),
    );
    await replacing('/dev/iommu', file, () => refuses('ERR_WRONG_NODE', () => Iommufd.open()));
  });

  conforms('none of several devices is opened if one is wrong, and nothing stays open', async () => {
    const [own, other] = [cdevOf(addresses.engine), cdevOf(addresses.display)];
    await replacing(own.path, other.path, () =>
      refuses('ERR_WRONG_NODE', () => PeerSpace.open({ devices: [addresses.ssd, addresses.engine] })),
    );
    await using space = await PeerSpace.open({ devices: [addresses.ssd, addresses.engine] });
    observe(space.devices.length);
  });
});

describe('a node in another place', () => {
  conformsOnlyOn(
    'system',
    'the fake has no files in other folders',
    'made with mknod, or by a symbolic link',
    async () => {
      const folder = temporaryFolder();
      const { path, number } = cdevOf(addresses.engine);
      const [made, linked] = [join(folder, 'made'), join(folder, 'linked')];
      execFileSync('mknod', [made, 'c', ...number.split(':')]);
      symlinkSync(path, linked);
      for (const name of [made, linked]) {
        using device = await VfioDevice.open(name, { address: addresses.engine });
        assert.equal(observe(device.address), addresses.engine);
        // planUnbind() uses the device number, too, to find the process that has the device open.
        const { objections } = planUnbind(addresses.engine);
        assert.match(String(objections), new RegExp(`^it is open by PID ${String(process.pid)} `));
        assert.equal(observe(planUnbind(addresses.display).objections.length), 0);
      }
    },
  );
});

describe('a sysfs that does not tell the number', () => {
  conformsOnlyOn('fake', "the kernel's sysfs cannot be changed", 'a device is not opened, IOMMUFD is', async () => {
    assert(onFake);
    using kernel = new FakeKernel();
    const address = kernel.addressOf('engine');
    rmSync(join(kernel.sysfs, 'dev'), { recursive: true });
    using found = await VfioDevice.open('/dev/vfio/devices/vfio2', { kernel });
    unlessFailing(() => {
      assert.equal(observe(found.address), address); // even without /sys/dev
    });
    rmSync(join(kernel.sysfs, 'bus/pci/devices', address, 'vfio-dev/vfio2/dev'));
    rmSync(join(kernel.sysfs, 'class/misc'), { recursive: true });
    rmSync(join(kernel.sysfs, 'class/vfio'), { recursive: true });
    await refuses('ERR_WRONG_NODE', () => VfioDevice.open(address, { kernel }));
    await refuses('ERR_WRONG_NODE', () => VfioGroup.open(address, { kernel }));
    using iommufd = Iommufd.open({ kernel });
    using container = VfioContainer.open({ kernel });
    observe([iommufd.closed, container.closed]);
  });
});
