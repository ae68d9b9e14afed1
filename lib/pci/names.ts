// Short names of PCI functions for display, from the class and from common vendors.
import type { PciFunction, PciBar } from './function';

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

/** Whether it is a host bridge or a bridge between buses. @internal */
export function isBridge({ classCode }: PciFunction): boolean {
  return classCode >> 16 === 0x06;
}

/** Returns for example 'Samsung NVMe' or 'Intel root port'. @internal */
export function shortName({ vendor, device, classCode, port }: PciFunction): string {
  const kind = classes[classCode >> 8] ?? baseClasses[classCode >> 16] ?? `device ${hex4(device)}`;
  const what = classCode >> 8 === 0x0604 && port !== undefined ? port.replaceAll('-', ' ') : kind;
  return `${vendors[vendor] ?? hex4(vendor)} ${what}`;
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
