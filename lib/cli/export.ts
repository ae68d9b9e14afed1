// vfio-dmabuf export
import { InvalidArgumentError, type Command } from 'commander';
import { Iommufd } from '../iommufd/iommufd';
import { VfioDevice } from '../vfio/device';
import type { DmaRange } from '../vfio/export';
import { json, print, size } from './output';

const units: Readonly<Record<string, bigint>> = { '': 1n, k: 1n << 10n, m: 1n << 20n, g: 1n << 30n };

/** '0x1000', '64k', '16M' */
function toBytes(text: string): bigint {
  const match = /^(0x[0-9a-f]+|\d+)([kmg]?)$/i.exec(text);
  const unit = units[match?.[2]?.toLowerCase() ?? ''];
  if (!match?.[1] || unit === undefined) throw new InvalidArgumentError(`${text} is no number of bytes`);
  return BigInt(match[1]) * unit;
}

/** 'OFFSET:LENGTH', one more of them. */
function toRange(text: string, before: DmaRange[]): DmaRange[] {
  const [offset = '', length, rest] = text.split(':');
  if (length === undefined || rest !== undefined) throw new InvalidArgumentError('a range is OFFSET:LENGTH');
  return [...before, { offset: toBytes(offset), length: toBytes(length) }];
}

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
    .requiredOption('-r, --region <index>', 'the BAR, 0 to 5', (text) => {
      if (!/^[0-5]$/.test(text)) throw new InvalidArgumentError('a BAR is 0 to 5');
      return Number(text);
    })
    .option(
      '--range <offset:length>',
      'in bytes, 0x…, or with k, M, G; again for more; default: the whole BAR',
      toRange,
      [],
    )
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
