// The PCI config space of a fake device, as vfio-pci presents it after open: the header, BARs with addresses,
// capabilities, and the masks of writable bits.
import type { Bar, DeviceKind } from './devices';

// Register offsets in the header (PCI 3.0, chapter 6.1).
const offsets = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  cacheLine: 0x0c,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
  rom: 0x30,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;
const commandAtOpen = 0x0103; // I/O and memory decoding on, bus mastering off, SERR# on
const commandWritable = 0x0507;
const statusCapabilities = 0x0010;
const multifunction = 0x80;
const redHat = 0x1af4;
const qemuSubsystem = 0x1100;

/** The BAR's lowest bits, which encode its kind. */
export function barFlags(bar: Bar): number {
  if (bar.kind === 'io') return 1;
  return (bar.wide ? 4 : 0) | (bar.prefetchable ? 8 : 0);
}

/** The lengths of capabilities whose bytes a kind of device may not have up to the end, by their id. */
const lengths: Partial<Record<string, number>> = { '01': 8, '10': 0x3c };

export interface ConfigSpace {
  bytes: Uint8Array;
  writable: Uint8Array;
}

/**
 * `addresses[i]`: the bus address of BAR i. `several`: whether the device has several functions and this is function 0.
 * `bus`: the number of the device's bus, on which the firmware's choice of the interrupt line depends.
 */
export function configSpace(
  kind: DeviceKind,
  addresses: readonly bigint[],
  { several = false, virtualFunctions = 0, bus = 0 } = {},
): ConfigSpace {
  const bytes = new Uint8Array(kind.express ? 4096 : 256);
  const writable = new Uint8Array(bytes.length);
  const view = new DataView(bytes.buffer);
  const mask = new DataView(writable.buffer);
  view.setUint16(offsets.vendor, kind.vendor, true);
  view.setUint16(offsets.device, kind.device, true);
  view.setUint16(offsets.command, commandAtOpen, true);
  mask.setUint16(offsets.command, commandWritable, true);
  view.setUint32(offsets.revision, kind.revision | (kind.classCode << 8), true);
  mask.setUint8(offsets.cacheLine, 0xff);
  if (several) view.setUint8(offsets.headerType, multifunction);
  view.setUint16(offsets.subsystemVendor, redHat, true);
  view.setUint16(offsets.subsystem, qemuSubsystem, true);
  mask.setUint8(offsets.interruptLine, 0xff);
  view.setUint8(offsets.interruptPin, kind.interruptPin);
  if (kind.interruptPin !== 0) view.setUint8(offsets.interruptLine, bus % 4 < 2 ? 10 : 11);
  if (kind.romSize !== undefined) {
    mask.setUint32(offsets.rom, Number(BigInt.asUintN(32, -kind.romSize)) | 1, true);
  }

  for (const [i, bar] of kind.bars.entries()) {
    if (!bar) continue;
    const at = offsets.bar0 + 4 * i;
    const value = (addresses[i] ?? 0n) | BigInt(barFlags(bar));
    const settable = BigInt.asUintN(64, -bar.size);
    view.setUint32(at, Number(value & 0xffff_ffffn), true);
    mask.setUint32(at, Number(settable & 0xffff_ffffn), true);
    if (!bar.wide) continue;
    view.setUint32(at + 4, Number(value >> 32n), true);
    mask.setUint32(at + 4, Number(settable >> 32n), true);
  }

  const capabilities = Object.entries(kind.capabilities);
  for (const [at, hex] of capabilities) bytes.set(Buffer.from(hex, 'hex'), Number(at));
  // The power state is writable, except in a physical function: its virtual functions need it in D0.
  const power = capabilities.find(([at, hex]) => Number(at) < 0x100 && hex.startsWith('01'));
  if (power && virtualFunctions === 0) mask.setUint8(Number(power[0]) + 4, 0x03);
  // MSI: the control register's lower byte, the 64-bit message address and the data are writable.
  const msi = capabilities.find(([at, hex]) => Number(at) < 0x100 && hex.startsWith('05'));
  if (msi) mask.setUint8(Number(msi[0]) + 2, 0xff);
  if (msi) writable.fill(0xff, Number(msi[0]) + 4, Number(msi[0]) + 14);
  // PCI Express: the device control registers.
  const express = capabilities.find(([, hex]) => hex.startsWith('10'));
  if (express && Number(express[0]) < 0x100) {
    mask.setUint16(Number(express[0]) + 8, 0x70e0, true);
    mask.setUint16(Number(express[0]) + 0x28, 0x8000, true);
  }
  // vfio-pci passes writes outside the header and the capabilities to the device, and QEMU's devices keep them.
  const extended = kind.express ? [[0x100, '00000000'] as const] : [];
  const taken = [[0, '00'.repeat(0x40)] as const, ...extended, ...capabilities];
  const length = (hex: string) => Math.max(hex.length / 2, lengths[hex.slice(0, 2)] ?? 0);
  const inUse = new Set(taken.flatMap(([at, hex]) => [...Array(length(hex)).keys()].map((i) => Number(at) + i)));
  for (let at = 0; at < writable.length; at += 1) if (!inUse.has(at)) writable[at] = 0xff;
  if (capabilities.length > 0) {
    view.setUint16(offsets.status, statusCapabilities, true);
    view.setUint8(offsets.capabilities, Math.min(...capabilities.map(([at]) => Number(at))));
  }
  return { bytes, writable };
}
