// The exports of vfio-dmabuf that read the PCI topology and bind drivers.
import '../addon/runtime'; // first
import './given';

export {
  bindToVfio,
  bindToVfioAsync,
  planBind,
  planUnbind,
  unbindFromVfio,
  unbindFromVfioAsync,
  type BindingOptions,
  type BindingPlan,
  type BindingStep,
} from '../pci/binding';
export {
  pciCapabilities,
  type BarPart,
  type ConfigReader,
  type Control,
  type ExpressPort,
  type PciCapability,
  type PciCapabilityFields,
} from '../pci/capabilities';
export type { PciAcs, PciBar, PciFunction, PciSriov } from '../pci/function';
export type { PciGap } from '../pci/gap';
export type { HostAdvice, IndirectPair } from '../pci/host-advice';
export type { P2pNote } from '../pci/host-notes';
export type { FutureGroup } from '../pci/isolation';
export type { CommandLineMistake } from '../pci/kernel-command-line';
export type { Cpu } from '../pci/host-trust';
export type { PciLink } from '../pci/link';
export type { P2pAdvice, P2pPath, P2pVerdict } from '../pci/p2p-path';
export { P2pMatrix, type P2pGroup } from '../pci/p2p-matrix';
export type { IoasObjection, IovaWindow, SharedIoas } from '../pci/shared-ioas';
export { PciTopology, type FunctionName, type TopologyOptions } from '../pci/topology';
