// The command `vfio-dmabuf export`.
import type { Command } from 'commander';
import { Iommufd } from '../iommufd/iommufd';
import { VfioDevice } from '../vfio/device';
import type { DmaRange } from '../vfio/export';
import { json, print, size } from './output';
import { rangeOption, regionOption } from './ranges';

interface Options {
  region: number;
  range: DmaRange[];
  json?: boolean;
}

export function addExport(program: Command): void {
  program
    .command('export')
    .description('export a part of a BAR as a dma-buf, tell what it is, and close it')
    .argument('<address>', 'PCI address of a device that vfio-pci has')
    .addOption(regionOption())
    .addOption(rangeOption('which make one dma-buf'))
    .option('--json', 'as JSON: { address, region, ranges: [{ offset, length }], size, inode, exporter }')
    .addHelpText('after', '\nExample:\n  $ vfio-dmabuf export 03:00.0 --region 2 --range 0:1M\n')
    .action(async (address: string, { region, range, ...options }: Options) => {
      await using iommufd = Iommufd.open();
      await using device = await VfioDevice.open(address, { iommufd });
      const { command } = device;
      const memory = command.memory;
      command.memory = true;
      try {
        const ranges = range.length > 0 ? range : [{ offset: 0n, length: device.region(region).size }];
        using dmaBuf = device.exportDmaBuf({ region, ranges });
        const told = {
          address: device.address,
          region,
          ranges,
          size: dmaBuf.size,
          inode: dmaBuf.inode,
          exporter: dmaBuf.exporterName,
        };
        if (options.json) print(json(told));
        else
          print(
            `${device.address ?? address} region ${region}: a dma-buf of ${size(dmaBuf.size)}, inode ${dmaBuf.inode}, by ${dmaBuf.exporterName}`,
          );
      } finally {
        command.memory = memory;
      }
    });
}
