// The machines that tests and examples run on.
import type { Machine } from './machine';

/**
 * The machine that the tests and the examples run on: a DMA engine, two drives with CMBs, a display, and I/O ports; and
 * mediated devices: serial cards that can be migrated, and virtual displays that show their picture as a dma-buf or as a region.
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
  // Intel's IOMMU as QEMU has it: 39 bits, and the window of message-signalled interrupts.
  iommu: {
    lastIova: 0x7f_ffff_ffffn,
    reserved: [{ start: 0xfee0_0000n, last: 0xfeef_ffffn }],
    capability: 0xd2_008c_2226_0286n,
    extendedCapability: 0xf0_0f4en,
  },
};

/** The same on a kernel without IOMMUFD, as Debian's are: VFIO's devices are opened through their groups. */
export const legacy: Machine = { ...reference, name: 'legacy', iommufd: false };

/** By name, as `VFIO_DMABUF_KERNEL=fake:NAME` takes them. */
export const machines: Readonly<Record<string, Machine>> = { reference, legacy };
