// A program that runs as an unprivileged user, for the cases that need one. Prints its errors as JSON.
//
//   as-nobody.ts open PATH              opens a device file
//   as-nobody.ts pin ADDRESS BYTES      maps BYTES of host memory for a device, under its limit of locked memory
//   as-nobody.ts attach ADDRESS BYTES   maps the memory first, and then attaches the device
//   as-nobody.ts rlimit                 sets the iommufd's rlimitMode
//   as-nobody.ts hand-over ADDRESS      maps 64 KiB for a device, passes the iommufd to a child process, and prints how
//                                       many KiB each process had pinned
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { DmaMemory, Iommufd, KernelError, VfioDevice } from '../../lib';
import { typescript } from '../typescript';
import { pinned } from './pinned';

const [, , verb, target = '', bytes = '0'] = process.argv;

function becomeNobody(): void {
  process.setgroups?.([]);
  process.setgid?.(65534);
  process.setuid?.(65534);
}

const verbs: Record<string, () => void> = {
  open: () => {
    becomeNobody();
    if (target.startsWith('/dev/vfio')) VfioDevice.openSync(target);
    else Iommufd.open({ path: target });
  },
  pin: () => {
    const iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    VfioDevice.openSync(target, { iommufd }).attachSync(ioas);
    becomeNobody();
    ioas.mapMemorySync(DmaMemory.alloc(4096));
    ioas.mapMemorySync(DmaMemory.alloc(Number(bytes)));
  },
  attach: () => {
    const iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    const device = VfioDevice.openSync(target, { iommufd });
    becomeNobody();
    ioas.mapMemorySync(DmaMemory.alloc(Number(bytes)));
    device.attachSync(ioas);
  },
  rlimit: () => {
    const iommufd = Iommufd.open();
    becomeNobody();
    iommufd.rlimitMode = 'process';
  },
  'hand-over': () => {
    const iommufd = Iommufd.open();
    const ioas = iommufd.allocIoas();
    VfioDevice.openSync(target, { iommufd }).attachSync(ioas);
    becomeNobody();
    ioas.mapMemorySync(DmaMemory.alloc(0x10000), { iova: 0x10_0000n });
    const before = pinned();
    const heir = spawnSync(process.execPath, [...typescript, join(__dirname, 'handed-over.ts'), String(ioas.id)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit', iommufd.fd],
    });
    console.log(JSON.stringify({ before, after: pinned(), heir: JSON.parse(heir.stdout) as unknown }));
  },
};

try {
  verbs[verb ?? '']?.();
} catch (error) {
  if (!(error instanceof KernelError)) throw error;
  const { code, errno, syscall, ioctl, hint } = error;
  console.log(JSON.stringify({ code, errno, syscall, ioctl, hint }));
}
