// The command `vfio-dmabuf devices`.
import type { Command } from 'commander';
import type { PciBar, PciFunction } from '../pci/function';
import { likelyUse, longName, shortAddress, shortName } from '../pci/names';
import { addFilters, chooseDevices, type FilterOptions } from './filter';
import { linkText, readHost, rootOption, toJson } from './host';
import { json, print, size, table } from './output';

const uses = { cmb: '(CMB?)', 'video-memory': '(video memory?)' };

/** Prevents a line break in `text` within a table by non-breaking spaces. {@link show} converts them to spaces. */
const together = (text: string): string => text.replaceAll(' ', '\u00a0');

function barText(device: PciFunction, bar: PciBar): string {
  const use = likelyUse(device, bar);
  const largest = bar.sizes.at(-1) ?? 0n;
  const more = largest > bar.size ? ` (up to ${size(largest)})` : '';
  const what = `BAR ${String(bar.index)} ${size(bar.size)}${bar.kind === 'io' ? ' I/O' : ''}${more}`;
  return use ? `${together(what)} ${together(uses[use])}` : together(what);
}

function show(devices: readonly PciFunction[]): void {
  const rows = devices.map((device) => {
    const { address, driver, iommuGroup, numaNode, cdev, bars, slot, serialNumber, physicalFunction } = device;
    const details = [
      physicalFunction === undefined ? undefined : together(`virtual function of ${shortAddress(physicalFunction)}`),
      cdev === undefined ? undefined : `/dev/vfio/devices/${cdev}`,
      together(linkText(device) ?? '') || undefined,
      ...bars.map((bar) => barText(device, bar)),
      slot === undefined ? undefined : together(`slot ${slot}`),
      serialNumber === undefined ? undefined : together(`serial ${serialNumber}`),
    ];
    const number = (value: number | undefined) => (value === undefined ? '-' : String(value));
    return [
      shortAddress(address),
      longName(device, false),
      driver ?? '-',
      number(iommuGroup),
      number(numaNode),
      details.filter((detail) => detail !== undefined).join(', '),
    ];
  });
  const titles = ['address', 'device', 'driver', 'group', 'node', together('VFIO, link, memory')];
  print(table(titles, rows).replaceAll('\u00a0', ' '));
}

interface Options extends FilterOptions {
  json?: boolean;
  root?: string;
}

export function addDevices(program: Command): void {
  addFilters(program.command('devices'), 'bridges and functions of the host itself, too')
    .description('the PCI devices, what they are bound to, their IOMMU groups, links and memory')
    .argument('[address...]', "only these; '*' stands for anything: '13:*'")
    .option('--json', 'as JSON (see below)')
    .addOption(rootOption())
    .addHelpText(
      'after',
      `
group is the IOMMU group, node the NUMA node. CMB? and video memory? are guesses from the class and the BARs.

JSON: [{ address, name, vendor, device, class, driver, cdev, iommuGroup, numaNode,
  link: { speed, width, maxSpeed, maxWidth, bandwidth },
  model, physicalFunction, slot, serialNumber, gaps: [{ what, text }],
  bars: [{ index, kind, start, size, prefetchable, wide, sizes, use }] }]
  null is what is not there or not known; speeds in GT/s, bandwidth in GB/s, sizes in bytes as "0x…".

Examples:
  $ vfio-dmabuf devices
  $ vfio-dmabuf devices --class nvme --driver vfio-pci none
  $ vfio-dmabuf devices --json | jq -r '.[] | select(.driver == "vfio-pci").address'
  $ VFIO_DMABUF_KERNEL=fake vfio-dmabuf devices
`,
    )
    .action((addresses: string[], { root, ...options }: Options) => {
      const devices = chooseDevices(readHost(root), addresses, options, options.all === true);
      if (!options.json) {
        show(devices);
        return;
      }
      const told = devices.map((device) => ({
        ...toJson(device, shortName(device)),
        bars: device.bars.map((bar) => ({ ...bar, use: likelyUse(device, bar) ?? null })),
      }));
      print(json(told));
    });
}
