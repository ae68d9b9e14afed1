// Exceptions of the ABI table, with their reasons.

/** Requests of the kernel's headers that are not wrapped. */
export const leftOut: Readonly<Partial<Record<string, string>>> = {
  VFIO_EEH_PE_OP: 'POWER only',
  VFIO_IOMMU_ENABLE: 'POWER only',
  VFIO_IOMMU_DISABLE: 'POWER only',
  VFIO_IOMMU_SPAPR_REGISTER_MEMORY: 'POWER only',
  VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY: 'POWER only',
  VFIO_IOMMU_SPAPR_TCE_CREATE: 'POWER only',
  VFIO_IOMMU_SPAPR_TCE_GET_INFO: 'POWER only',
  VFIO_IOMMU_SPAPR_TCE_REMOVE: 'POWER only',
  IOMMU_IOAS_MAP:
    'maps memory by its address: what lies there when a device is attached, which may be somebody else’s by then. ' +
    'Memory is mapped by its file (IOMMU_IOAS_MAP_FILE), which holds it',
  DMA_BUF_SET_NAME: 'DMA_BUF_SET_NAME_A on 32-bit systems, DMA_BUF_SET_NAME_B on others',
  DMA_BUF_SET_NAME_A: 'the form of 32-bit systems',
};

/** Wrapped requests that no device of the virtual machine supports. */
export const noTestBed: Readonly<Partial<Record<string, string>>> = {
  VFIO_DEVICE_FEATURE_ZPCI_ERROR: 's390 only',
  VFIO_DEVICE_FEATURE_BUS_MASTER: 'devices on a CDX bus only, which no emulated machine has',
  IOMMU_IOAS_NOIOMMU_GET_PA:
    'wants a device that no IOMMU is in front of, and a kernel that gives such to user space all the same ' +
    '(CONFIG_VFIO_NOIOMMU, enable_unsafe_noiommu_mode)',
};
