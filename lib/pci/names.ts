// Short names of PCI functions for display, from the class, from common vendors, and from pci.ids.
import type { PciFunction, PciBar } from './function';
import { pciNames } from './pci-ids';

/** Names by class and subclass (PCI Code and ID Assignment Specification). */
const classes: Readonly<Record<number, string>> = {
  0x0101: 'IDE controller',
  0x0104: 'RAID controller',
  0x0106: 'SATA controller',
  0x0107: 'SAS controller',
  0x0108: 'NVMe',
  0x0200: 'Ethernet',
  0x0207: 'InfiniBand',
  0x0300: 'VGA display',
  0x0302: '3D controller',
  0x0403: 'audio',
  0x0600: 'host bridge',
  0x0601: 'ISA bridge',
  0x0604: 'PCI bridge',
  0x0607: 'CardBus bridge',
  0x0609: 'non-transparent bridge',
  0x0680: 'bridge device',
  0x0805: 'SD controller',
  0x0c03: 'USB controller',
  0x0c05: 'SMBus',
};

const baseClasses: Readonly<Record<number, string>> = {
  0x01: 'storage',
  0x02: 'network',
  0x03: 'display',
  0x04: 'multimedia',
  0x05: 'memory',
  0x06: 'bridge',
  0x07: 'communication',
  0x08: 'system device',
  0x09: 'input',
  0x0b: 'processor',
  0x0c: 'serial bus',
  0x0d: 'wireless',
  0x10: 'encryption',
  0x11: 'signal processing',
  0x12: 'accelerator',
};

const vendors: Readonly<Record<number, string>> = {
  0x1000: 'Broadcom',
  0x1002: 'AMD',
  0x1022: 'AMD',
  0x10b5: 'PLX',
  0x10de: 'NVIDIA',
  0x10ec: 'Realtek',
  0x10ee: 'Xilinx',
  0x11f8: 'Microchip',
  0x1234: 'QEMU',
  0x1344: 'Micron',
  0x1425: 'Chelsio',
  0x144d: 'Samsung',
  0x14c3: 'MediaTek',
  0x14e4: 'Broadcom',
  0x15ad: 'VMware',
  0x15b3: 'Mellanox',
  0x15b7: 'SanDisk',
  0x17cb: 'Qualcomm',
  0x1987: 'Phison',
  0x19e5: 'Huawei',
  0x1a03: 'ASPEED',
  0x1ae0: 'Google',
  0x1af4: 'virtio',
  0x1b21: 'ASMedia',
  0x1b36: 'Red Hat',
  0x1c5c: 'SK hynix',
  0x1d0f: 'Amazon',
  0x1e0f: 'KIOXIA',
  0x8086: 'Intel',
};

const hex4 = (value: number): string => value.toString(16).padStart(4, '0');

/**
 * Shortens addresses in domain 0, for example to '13:00.0', as lspci does. `PciTopology.find` accepts this form.
 * @internal
 */
export function shortAddress(address: string): string {
  return address.replace(/^0000:/, '');
}

const baseBridge = 0x06;
/** The subclasses that are bridges of the host's own: host, ISA, EISA, MCA. */
const lastHostBridge = 0x03;
const busBridges = [0x04, 0x07];

/**
 * Whether it is a bridge between buses, or one of the host. Devices of other subclasses of bridges are not: NVSwitches and
 * non-transparent bridges are endpoints. @internal
 */
export function isBridge({ classCode, headerType }: PciFunction): boolean {
  if (headerType === 1 || headerType === 2) return true;
  const subclass = (classCode >> 8) & 0xff;
  return classCode >> 16 === baseBridge && (subclass <= lastHostBridge || busBridges.includes(subclass));
}

/** Classes and subclasses of functions of the host itself that move no data of their own. */
const systemClasses = [
  ...[0x0600, 0x0601, 0x0602, 0x0603], // bridges of the host
  ...[0x0800, 0x0801, 0x0802, 0x0803, 0x0804, 0x0806, 0x0807], // interrupts, DMA, timers, clocks, hot plug, IOMMUs, events
  ...[0x0c05, 0x1101, 0x1300], // SMBus, performance counters, instrumentation
];
/** Base classes whose functions without memory belong to the host itself, such as Intel's uncore. */
const systemBaseClasses = [0x05, 0x06, 0x08, 0x0b, 0x11, 0x13, 0xff];

/** Whether it is a function of the host itself, which is of no use to anybody: not a bridge, and no device. @internal */
export function isSystem({ classCode, bars, cdev }: PciFunction): boolean {
  if (cdev !== undefined) return false;
  if (systemClasses.includes(classCode >> 8)) return true;
  return systemBaseClasses.includes(classCode >> 16) && !bars.some(({ kind }) => kind === 'memory');
}

/** The parts of companies' names that tell nothing. */
const legalForms =
  /(?:,|\b(?:Inc|Corp|Co|Ltd|LLC|GmbH|AG|Technolog|Semiconductor|International|Electronics|Systems)\b).*$/;

function vendorName(vendor: number, device: number): string {
  const short = vendors[vendor];
  if (short !== undefined) return short;
  const long = pciNames(vendor, device).vendor;
  if (long === undefined) return hex4(vendor);
  const name = long.replace(legalForms, '').trim();
  return name === '' ? long : name;
}

/** Returns the product's name in pci.ids, for example 'H100 SXM5 80GB' of 'GH100 [H100 SXM5 80GB]'. @internal */
export function modelName({ vendor, device }: PciFunction): string | undefined {
  const name = pciNames(vendor, device).device;
  return name === undefined ? undefined : (/\[([^\]]+)\]$/.exec(name)?.[1] ?? name);
}

/**
 * Returns what a line of text tells of a function: its short name and its model, and whether it is a virtual function, or
 * was not seen.
 *
 * @param isVirtualTold whether it tells that it is a virtual function
 * @internal
 */
export function longName(self: PciFunction, isVirtualTold = true): string {
  const { physicalFunction, gaps } = self;
  const lost = gaps.find(({ what }) => what !== 'config');
  if (lost?.what === 'function') return `not seen: ${lost.text}`;
  const model = isBridge(self) ? undefined : modelName(self);
  const kind = shortName(self);
  const isNumber = kind.endsWith(` device ${hex4(self.device)}`);
  const named = model !== undefined && isNumber ? [`${vendorName(self.vendor, self.device)} ${model}`] : [kind, model];
  const parts = [
    ...named,
    physicalFunction === undefined || !isVirtualTold
      ? undefined
      : `virtual function of ${shortAddress(physicalFunction)}`,
    lost && `NOT KNOWN: ${lost.what === 'place' ? 'the bridges above it' : lost.text}`,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

/** Returns for example 'Samsung NVMe' or 'Intel root port'. @internal */
export function shortName({ vendor, device, classCode, port, gaps }: PciFunction): string {
  if (gaps.some(({ what }) => what === 'function')) return 'not seen';
  const kind = classes[classCode >> 8] ?? baseClasses[classCode >> 16] ?? `device ${hex4(device)}`;
  const what = classCode >> 8 === 0x0604 && port !== undefined ? port.replaceAll('-', ' ') : kind;
  return `${vendorName(vendor, device)} ${what}`;
}

const largest = (bars: readonly PciBar[]): PciBar | undefined =>
  bars.reduce<PciBar | undefined>((most, bar) => (bar.size > (most?.size ?? 0n) ? bar : most), undefined);

/**
 * Guesses the use of a BAR: the controller memory buffer of an NVMe drive (a BAR without its registers), or a display's
 * video memory (the largest prefetchable BAR). Only the device's registers contain the actual use. A BAR without a bus
 * address has no use. @internal
 */
export function likelyUse({ classCode, bars }: PciFunction, bar: PciBar): 'cmb' | 'video-memory' | undefined {
  if (bar.start === 0n) return undefined;
  const memory = bars.filter(({ kind }) => kind === 'memory');
  if (classCode >> 8 === 0x0108) {
    return bar === largest(memory.filter(({ index }) => index !== 0)) ? 'cmb' : undefined;
  }
  if (classCode >> 16 !== 0x03) return undefined;
  return bar === largest(memory.filter(({ prefetchable }) => prefetchable)) ? 'video-memory' : undefined;
}
