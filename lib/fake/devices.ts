// The kinds of devices that a machine can have: their PCI properties, as read from QEMU's devices through vfio-pci, and
// the QEMU arguments that create them. The native models implement their registers (native/fake).

/** A BAR: memory pages, registers implemented by a native model, or I/O ports. */
export interface Bar {
  kind: 'memory' | 'registers' | 'io';
  size: bigint;
  prefetchable?: boolean;
  /** Whether it is a 64-bit BAR, which uses the next BAR's register for its upper half. */
  wide?: boolean;
  /** The capabilities of its region info, in addition to the MSI-X one. */
  infoCapabilities?: readonly InfoCapability[];
}

/** The result of VFIO_DEVICE_GET_IRQ_INFO for an interrupt index. */
export interface Irq {
  flags: number;
  count: number;
}

/** A capability in VFIO's device info or region info. */
export interface InfoCapability {
  id: number;
  version: number;
  /** The data after the header. */
  data: Uint8Array;
}

/** A kind of device. */
export interface DeviceKind {
  vendor: number;
  device: number;
  /** Class, subclass and programming interface (24 bits). */
  classCode: number;
  revision: number;
  /** Whether it is a PCI Express device, with 4096 bytes of config space. Conventional PCI has 256 bytes. */
  express: boolean;
  /** The bytes of the capabilities, by their offset in config space. The first capability has the lowest offset. */
  capabilities: Record<number, string>;
  interruptPin: number;
  bars: (Bar | undefined)[];
  romSize?: bigint;
  irqs: [intx: Irq, msi: Irq, msix: Irq, error: Irq, request: Irq];
  msix?: { bar: number; offset: bigint; size: bigint };
  /** The capabilities of its device info. */
  infoCapabilities?: readonly InfoCapability[];
  /** The kind of its virtual functions. */
  virtualFunction?: DeviceKind;
  /** Returns QEMU's -drive and -device arguments for a device on `bus`. */
  qemu: (bus: string, id: string) => string[];
}

const MiB = 1n << 20n;

const intx: Irq = { flags: 7, count: 1 };
const noIntx: Irq = { flags: 7, count: 0 };
const none: Irq = { flags: 9, count: 0 };
const one: Irq = { flags: 9, count: 1 };

/**
 * Returns a PCI Express capability. `next`: the next capability's offset; `capabilities`: the device capabilities
 * register; both in memory byte order.
 */
const express = (next: string, capabilities: string) =>
  `10${next}0200${capabilities}000000001104000000001100${'00'.repeat(16)}00003000`;
const errorReporting = '00800000';
const errorReportingAndReset = '00800010';

/** QEMU's edu device: a DMA engine with a 4 KiB buffer and simple test registers. */
export const edu: DeviceKind = {
  vendor: 0x1234,
  device: 0x11e8,
  classCode: 0x00ff00,
  revision: 0x10,
  express: false,
  capabilities: { 0x40: '05008000' },
  interruptPin: 1,
  bars: [{ kind: 'registers', size: MiB }],
  irqs: [intx, one, none, one, one],
  // With the default mask, the engine's addresses are limited to 256 MiB.
  qemu: (bus, id) => ['-device', `edu,bus=${bus},id=${id},dma_mask=0xffffffffff`],
};

/** Returns the arguments for an empty drive of 64 MiB. Its content is lost when QEMU exits. */
const nvmeArguments = (bus: string, id: string, options: string): string[] => [
  '-drive',
  `driver=raw,file.driver=null-co,file.read-zeroes=on,file.size=64M,snapshot=on,if=none,id=${id}-drive`,
  '-device',
  `nvme,serial=${id},drive=${id}-drive,${options},bus=${bus},id=${id}`,
];

/** An NVMe drive with a Controller Memory Buffer of 16 MiB, which fills BAR 2. */
export const nvmeCmb: DeviceKind = {
  vendor: 0x1b36,
  device: 0x0010,
  classCode: 0x010802,
  revision: 0x02,
  express: true,
  capabilities: {
    0x40: '118040000020000000300000',
    0x60: '0100030008',
    0x80: express('60', errorReportingAndReset),
  },
  interruptPin: 1,
  bars: [
    { kind: 'registers', size: 0x4000n, wide: true },
    undefined,
    { kind: 'memory', size: 16n * MiB, prefetchable: true, wide: true },
  ],
  irqs: [intx, none, { flags: 1, count: 65 }, one, one],
  msix: { bar: 0, offset: 0x2000n, size: 65n * 16n },
  qemu: (bus, id) => nvmeArguments(bus, id, 'cmb_size_mb=16,legacy-cmb=on'),
};

/** An NVMe drive whose CMB must be enabled through CMBMSC, as since version 1.4 of the specification. */
export const nvmeCmbmsc: DeviceKind = {
  ...nvmeCmb,
  qemu: (bus, id) => nvmeArguments(bus, id, 'cmb_size_mb=16'),
};

/** A display with 16 MiB of video memory in BAR 0, used in place of a GPU. */
export const bochsDisplay: DeviceKind = {
  vendor: 0x1234,
  device: 0x1111,
  classCode: 0x038000,
  revision: 0x02,
  express: true,
  capabilities: { 0x80: express('00', errorReporting) },
  interruptPin: 0,
  bars: [{ kind: 'memory', size: 16n * MiB, prefetchable: true }, undefined, { kind: 'registers', size: 0x1000n }],
  romSize: 0x8000n,
  irqs: [noIntx, none, none, one, one],
  qemu: (bus, id) => ['-device', `bochs-display,vgamem=16M,bus=${bus},id=${id}`],
};

/** A device with an I/O port BAR and a memory BAR. */
export const pciTestdev: DeviceKind = {
  vendor: 0x1b36,
  device: 0x0005,
  classCode: 0x00ff00,
  revision: 0x00,
  express: false,
  capabilities: {},
  interruptPin: 0,
  bars: [
    { kind: 'registers', size: 0x1000n },
    { kind: 'io', size: 0x100n },
  ],
  irqs: [noIntx, none, none, one, one],
  qemu: (bus, id) => ['-device', `pci-testdev,bus=${bus},id=${id}`],
};

/** A virtual function of {@link nvmeSriov}. It has no INTx and no power states. */
const nvmeVirtual: DeviceKind = {
  ...nvmeCmb,
  capabilities: {
    0x40: '118002000020000000300000',
    0x80: express('00', errorReportingAndReset),
    0x100: '0e00010000000000',
  },
  interruptPin: 0,
  bars: [{ kind: 'registers', size: 0x4000n, wide: true }],
  irqs: [noIntx, none, { flags: 1, count: 3 }, one, one],
  msix: { bar: 0, offset: 0x2000n, size: 3n * 16n },
  qemu: () => [],
};

/** An NVMe drive with SR-IOV. It has no CMB, because QEMU does not support both together. */
export const nvmeSriov: DeviceKind = {
  ...nvmeVirtual,
  capabilities: {
    ...nvmeVirtual.capabilities,
    0x60: '0100030008',
    0x80: express('60', errorReportingAndReset),
    0x100: '0e00011200010000',
    0x120: '10000100000000001900000002000200020000000100010000001000530500000100000004000000',
  },
  interruptPin: 1,
  irqs: [intx, none, { flags: 1, count: 3 }, one, one],
  virtualFunction: nvmeVirtual,
  qemu: (bus, id) => [
    '-device',
    `nvme-subsys,id=${id}-subsys,nqn=${id}`,
    '-device',
    `nvme,serial=${id},subsys=${id}-subsys,sriov_max_vfs=2,sriov_vq_flexible=4,sriov_vi_flexible=2,max_ioqpairs=6,` +
      `msix_qsize=5,bus=${bus},id=${id}`,
  ],
};

/** An SD card controller. Its only BAR is smaller than a page. */
export const sdhci: DeviceKind = {
  vendor: 0x1b36,
  device: 0x0007,
  classCode: 0x080501,
  revision: 0x00,
  express: false,
  capabilities: {},
  interruptPin: 1,
  bars: [{ kind: 'registers', size: 0x100n }],
  irqs: [intx, none, none, one, one],
  qemu: (bus, id) => ['-device', `sdhci-pci,bus=${bus},id=${id}`],
};

/** The kinds, by the name of their native model. */
export const deviceKinds = {
  edu,
  nvme: nvmeCmb,
  'nvme-cmbmsc': nvmeCmbmsc,
  'bochs-display': bochsDisplay,
  'pci-testdev': pciTestdev,
  'nvme-sriov': nvmeSriov,
  sdhci,
} as const satisfies Record<string, DeviceKind>;

/** The name of a kind of device. */
export type DeviceKindName = keyof typeof deviceKinds;
