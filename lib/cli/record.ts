// The command `vfio-dmabuf record`.
import type { Command } from 'commander';
import { recordHost } from '../host/record';
import { rootOption, sysfsOf } from './host';

export function addRecord(program: Command): void {
  program
    .command('record')
    .description('this host as one JSON document, which --root of the other commands takes')
    .option('--serials', 'serial numbers, too')
    .option('--json', 'JSON, which it writes in any case')
    .addOption(rootOption())
    .addHelpText(
      'after',
      `
Records the PCI functions with their config space, IOMMU groups, drivers, disks and network interfaces, and the kernel's
release and parameters. Left out: serial numbers, names of the host, of users and of mounts. As root it has all of config
space.

Examples:
  $ sudo vfio-dmabuf record > host.json
  $ vfio-dmabuf topology --matrix --root host.json
`,
    )
    .action(({ serials = false, root }: { serials?: boolean; root?: string }) => {
      process.stdout.write(`${JSON.stringify(recordHost({ sysfs: sysfsOf(root), serials }))}\n`);
    });
}
