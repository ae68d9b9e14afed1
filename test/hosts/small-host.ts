// A host of a few PCI functions as files, which a test changes as it needs: its sys, proc, run and lib folders.
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { temporaryFolder } from '../cleanup';

export interface SmallFunction {
  /** Where it is below sys/devices. Default: pci0000:00. */
  below?: string;
  driver?: string;
  group?: number;
  cdev?: string;
  files?: Record<string, string>;
}

const ids = { vendor: '0x8086', device: '0x1234', subsystem_vendor: '0x8086', subsystem_device: '0x0001' };

export class SmallHost {
  readonly root = temporaryFolder();
  readonly sysfs = join(this.root, 'sys');

  constructor(drivers: readonly string[] = ['vfio-pci']) {
    this.write('proc/cpuinfo', 'vendor_id\t: GenuineIntel\ncpu family\t: 6\n');
    this.write('proc/sys/kernel/osrelease', '7.3.4\n');
    for (const driver of drivers) this.folder(`sys/bus/pci/drivers/${driver}`);
  }

  folder(path: string): string {
    mkdirSync(join(this.root, path), { recursive: true });
    return join(this.root, path);
  }

  write(path: string, content: string): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    return file;
  }

  /** Makes a link. Both paths are relative to the root; an absolute `target` stays as it is. */
  link(target: string, path: string): void {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    rmSync(file, { force: true });
    symlinkSync(target.startsWith('/') ? target : relative(dirname(file), join(this.root, target)), file);
  }

  /** Adds a function. Returns its folder, relative to the root. */
  add(address: string, { below = 'pci0000:00', driver, group, cdev, files = {} }: SmallFunction = {}): string {
    const folder = `sys/devices/${below}/${address}`;
    const all = { ...ids, revision: '0x00', class: '0x010802', ...files };
    for (const [name, content] of Object.entries(all)) this.write(join(folder, name), `${content}\n`);
    this.link(folder, `sys/bus/pci/devices/${address}`);
    if (group !== undefined) {
      this.link(`sys/kernel/iommu_groups/${String(group)}`, join(folder, 'iommu_group'));
      this.link(folder, `sys/kernel/iommu_groups/${String(group)}/devices/${address}`);
      this.write(`sys/kernel/iommu_groups/${String(group)}/reserved_regions`, '0xfee00000 0xfeefffff msi\n');
    }
    if (driver !== undefined) this.drive(address, driver);
    if (cdev !== undefined) this.folder(`${folder}/vfio-dev/${cdev}`);
    return folder;
  }

  /** Binds a function to a driver; undefined: to none. */
  drive(address: string, driver: string | undefined): void {
    const path = `sys/bus/pci/devices/${address}/driver`;
    rmSync(join(this.root, path), { force: true });
    if (driver === undefined) return;
    symlinkSync(this.folder(`sys/bus/pci/drivers/${driver}`), join(this.root, path));
  }

  /** Adds a process of the host that has these files open: paths of real device files, or 'anon_inode:…'. */
  process(pid: number, comm: string, open: Record<string, string>): void {
    this.write(`proc/${String(pid)}/comm`, `${comm}\n`);
    const fds = this.folder(`proc/${String(pid)}/fd`);
    for (const [fd, target] of Object.entries(open)) symlinkSync(target, join(fds, fd));
  }
}
