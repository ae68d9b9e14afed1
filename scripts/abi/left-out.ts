// What the table of the ABI cannot show as the rest, and why.

/** In the kernel's headers, and not wrapped. */
export const leftOut: Readonly<Partial<Record<string, string>>> = {
  VFIO_EEH_PE_OP: 'POWER only',
  VFIO_IOMMU_ENABLE: 'POWER only',
  VFIO_IOMMU_DISABLE: 'POWER only',
  VFIO_IOMMU_SPAPR_REGISTER_MEMORY: 'POWER only',
  VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY: 'POWER only',
  VFIO_IOMMU_SPAPR_TCE_CREATE: 'POWER only',
  VFIO_IOMMU_SPAPR_TCE_GET_INFO: 'POWER only',
  VFIO_IOMMU_SPAPR_TCE_REMOVE: 'POWER only',
  DMA_BUF_SET_NAME: 'DMA_BUF_SET_NAME_A on 32-bit systems, DMA_BUF_SET_NAME_B on others',
  DMA_BUF_SET_NAME_A: 'the form of 32-bit systems',
};

/** Wrapped, and nothing in the virtual machine can do it: why. */
export const noTestBed: Readonly<Partial<Record<string, string>>> = {
  VFIO_DEVICE_FEATURE_ZPCI_ERROR: 's390 only',
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START: 'no driver of an emulated device logs DMA (mlx5, pds and others do)',
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: 'no driver of an emulated device logs DMA',
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: 'no driver of an emulated device logs DMA',
};
