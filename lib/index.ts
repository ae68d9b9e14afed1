/**
 * PCI peer-to-peer memory on Linux: exports a VFIO device's BAR as a dma-buf and maps it with IOMMUFD for other
 * devices.
 *
 * @packageDocumentation
 */
import './entry/given';

export { Counts, type ListenOptions } from './events/counter';
export { defaultKernel } from './kernel/default-kernel';
export { DmaBuf, type MapBufferOptions } from './dmabuf/dma-buf';
export { DmaHeap, type AllocOptions } from './dmabuf/dma-heap';
export { DmaMemory, type HugePageSize, type Seal } from './dmabuf/dma-memory';
export { MappedDmaBuf } from './dmabuf/mapped-dma-buf';
export { SyncFile, type FenceInfo, type FenceState, type SyncFileInfo } from './dmabuf/sync-file';
export type { HostMemory, MemoryRange } from './dmabuf/udmabuf';
export type { WaitOptions } from './events/waits';
export { KernelError, type KernelErrorArguments } from './errors/errors';
export { examineHost, type DoctorOptions, type Finding, type HostReport } from './host/doctor';
export type { IommufdDevice } from './iommufd/bound';
export type { DirtyOptions, DirtyPages, DirtyRange } from './iommufd/dirty';
export type { HwInfo, HwInfoType, IommuInfo } from './iommufd/hw-info';
export type { EventQueue } from './iommufd/event-queue';
export { FaultQueue, type PageRequest, type PageRequestGroup, type PageResponse } from './iommufd/fault-queue';
export { HwQueue, type HwQueueOptions } from './iommufd/hw-queue';
export { Hwpt, type HwptOptions, type NestedHwptOptions } from './iommufd/hwpt';
export type { HwptData, VtdStage1 } from './iommufd/hwpt-data';
export { Eventfd } from './events/eventfd';
export {
  FdChannel,
  type ChannelKind,
  type ChannelOptions,
  type FdMessage,
  type FdSource,
  type PeerCredentials,
} from './ipc/fd-channel';
export { FdServer, type ListenSocketOptions } from './ipc/fd-server';
export { ReceivedFd } from './ipc/received-fd';
export { ShareClient, type SharedBuffer, type ShareClientEvents, type ShareClientOptions } from './ipc/share-client';
export { shareVersion, type SharedBufferInfo } from './ipc/share-protocol';
export { ShareServer, type ShareOffer, type ShareOptions, type ShareServerEvents } from './ipc/share-server';
export type { InvalidateData, VtdInvalidation } from './iommufd/invalidate';
export { Ioas, type IovaRanges } from './iommufd/ioas';
export { Iommufd, type RlimitMode } from './iommufd/iommufd';
export { VeventQueue, type VeventQueueOptions, type VirtualEvent } from './iommufd/vevent-queue';
export { Vdevice, Viommu, type ViommuData } from './iommufd/viommu';
export { IoasMapping, type IoasEvents, type MappingState } from './iommufd/mapping';
export type { IommufdObject } from './iommufd/object';
export type { MapDmaBufOptions, MapOptions } from './iommufd/placement';
export { Kernel } from './kernel/kernel';
export type { Closable } from './lifetime/closable';
export type { Parents } from './lifetime/parents';
export type { RegisterArray } from './addon/native';
export {
  NvmeController,
  type BarRange,
  type EnableCmbOptions,
  type NvmeCapabilities,
  type NvmeCmb,
} from './nvme/controller';
export {
  bindToVfio,
  planBind,
  planUnbind,
  unbindFromVfio,
  type BindingOptions,
  type BindingPlan,
  type BindingStep,
} from './pci/binding';
export {
  pciCapabilities,
  type BarPart,
  type ConfigReader,
  type Control,
  type ExpressPort,
  type PciCapability,
  type PciCapabilityFields,
} from './pci/capabilities';
export type { PciAcs, PciBar, PciFunction, PciSriov } from './pci/function';
export type { PciGap } from './pci/gap';
export type { HostAdvice, IndirectPair } from './pci/host-advice';
export type { P2pNote } from './pci/host-notes';
export type { FutureGroup } from './pci/isolation';
export type { CommandLineMistake } from './pci/kernel-command-line';
export type { Cpu } from './pci/host-trust';
export type { PciLink } from './pci/link';
export type { P2pAdvice, P2pPath, P2pVerdict } from './pci/p2p-path';
export { P2pMatrix, type P2pGroup } from './pci/p2p-matrix';
export type { IoasObjection, IovaWindow, SharedIoas } from './pci/shared-ioas';
export { PciTopology, type FunctionName, type TopologyOptions } from './pci/topology';
export {
  PeerSpace,
  type PeerDevice,
  type PeerMemory,
  PeerShare,
  type PeerSpaceEvents,
  type PeerSpaceOptions,
} from './peer-space/peer-space';
export { ioctlChannel, type IoctlMessage } from './addon/trace';
export type { Access } from './errors/validate';
export type { DeviceCapability, RegionCapability, UnknownCapability } from './vfio/capabilities';
export { CommandRegister } from './vfio/command-register';
export { vfioFeatures, type VfioFeature } from './vfio/constants';
export type { BindOptions } from './vfio/attachments';
export { VfioContainer } from './vfio/container';
export type { ContainerExtension, ContainerFile, IommuType } from './vfio/container-file';
export type { ContainerInfo } from './vfio/container-info';
export type { ContainerSpace } from './vfio/container-space';
export { VfioDevice, type FeatureOperations } from './vfio/device';
export type { DmaRange, ExportOptions } from './vfio/export';
export { DmaMapping } from './vfio/dma-mapping';
export { VfioGroup, type GroupStatus } from './vfio/group';
export type { HotResetDevice, HotResetInfo } from './vfio/hot-reset';
export type { DeviceInfo, IrqInfo } from './vfio/info';
export { InterruptIndex, type EnableOptions, type InterruptEvents, type VectorTarget } from './vfio/interrupt-index';
export { Interrupts } from './vfio/interrupts';
export { Ioeventfd, type IoeventfdOptions } from './vfio/ioeventfd';
export { MappedRegion } from './vfio/mapped-region';
export type { OpenOptions } from './vfio/open';
export type { RegionRange } from './vfio/ranges';
export { Region } from './vfio/region';
export { videoMemory } from './vfio/video-memory';
export { WakeUp } from './vfio/wake-up';
export { DmaLogging, type IovaRange, type IovaRangeInput } from './vfio/dma-logging';
export { Gfx, type GfxKind, type GfxPlane, type GfxPlaneName } from './vfio/gfx';
export { Migration, type MigrationCapabilities, type MigrationState, type MoveOptions } from './vfio/migration';
export { MigrationData, type PrecopyInfo, type StreamOptions } from './vfio/migration-data';
