/**
 * PCI peer-to-peer memory on Linux: exports a VFIO device's BAR as a dma-buf and maps it with IOMMUFD for other
 * devices.
 *
 * @packageDocumentation
 */
// In the package, each of these is loaded when one of its exports is first used (scripts/bundle.cjs).
export * from './entry/core';
export * from './entry/host';
export * from './entry/peers';
export * from './entry/topology';
