// The machines that tests and examples use.
import type { Machine } from './machine';

/**
 * The default machine of tests and examples: a DMA engine, two drives with CMBs, a display, I/O ports, and mediated
 * devices: serial cards that support migration, and virtual displays that export their picture as a dma-buf or as a
 * region.
 */
export const reference: Machine = {
  name: 'reference',
  ports: [
    { role: 'ssd', kind: 'nvme' },
    { role: 'display', kind: 'bochs-display' },
    { role: 'engine', kind: 'edu' },
    { role: 'ports', kind: 'pci-testdev' },
    { role: 'physical', kind: 'nvme-sriov', virtualFunctions: ['virtual0', 'virtual1'] },
    { role: 'twin0', kind: 'bochs-display', functions: [{ role: 'twin1', kind: 'sdhci' }] },
    { role: 'disk', kind: 'nvme-cmbmsc' },
  ],
  mdevs: [
    { role: 'serial', type: 'mtty-2' },
    { role: 'serialTwin', type: 'mtty-2' },
    { role: 'serialSingle', type: 'mtty-1' },
    { role: 'framebuffer', type: 'mbochs-small' },
    { role: 'panel', type: 'mdpy-vga' },
  ],
  // QEMU's Intel IOMMU: 39 bits, and the reserved window for message-signalled interrupts.
  iommu: {
    lastIova: 0x7f_ffff_ffffn,
    reserved: [{ start: 0xfee0_0000n, last: 0xfeef_ffffn }],
    capability: 0xd2_008c_2226_0286n,
    extendedCapability: 0xf0_0f4en,
  },
};

/** The reference machine with a kernel without IOMMUFD, as in Debian. VFIO devices are opened through their groups. */
export const legacy: Machine = { ...reference, name: 'legacy', iommufd: false };

/** The machines by name, for `VFIO_DMABUF_KERNEL=fake:NAME`. */
export const machines: Readonly<Record<string, Machine>> = { reference, legacy };
