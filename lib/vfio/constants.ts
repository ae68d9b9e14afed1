// Constants of VFIO's user API (linux/vfio.h).

/** @internal */
export const deviceFlags = { reset: 1 << 0, pci: 1 << 1 } as const;
/** @internal */
export const regionFlags = { read: 1 << 0, write: 1 << 1, mmap: 1 << 2 } as const;
/** @internal */
export const irqFlags = { eventfd: 1 << 0, maskable: 1 << 1, automasked: 1 << 2, noresize: 1 << 3 } as const;

/** @internal */
export const irqNames = ['INTx', 'MSI', 'MSI-X', 'error', 'request'] as const;
/** @internal */
export const irqActions = { mask: 1 << 3, unmask: 1 << 4, trigger: 1 << 5 } as const;

/** @internal */
export const configRegion = 7;
/** @internal */
export const regionNames = ['bar0', 'bar1', 'bar2', 'bar3', 'bar4', 'bar5', 'rom', 'config', 'vga'] as const;

/** @internal */
export const featureOperations = { get: 1 << 16, set: 1 << 17 } as const;

/** The features of VFIO_DEVICE_FEATURE, by their names in the kernel. */
export const vfioFeatures = {
  PCI_VF_TOKEN: 0,
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  LOW_POWER_ENTRY: 3,
  LOW_POWER_ENTRY_WITH_WAKEUP: 4,
  LOW_POWER_EXIT: 5,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
  MIG_DATA_SIZE: 9,
  BUS_MASTER: 10,
  DMA_BUF: 11,
  MIG_PRECOPY_INFOv2: 12,
  ZPCI_ERROR: 13,
} as const;

/** The name of a VFIO device feature. */
export type VfioFeature = keyof typeof vfioFeatures;
