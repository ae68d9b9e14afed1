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
export type { PciLink } from '../pci/link';
export type { P2pAdvice, P2pPath, P2pVerdict } from '../pci/p2p';
export { P2pMatrix } from '../pci/p2p-matrix';
export type { IoasObjection, IovaWindow, SharedIoas } from '../pci/shared-ioas';
export { PciTopology, type Cpu, type FunctionName, type TopologyOptions } from '../pci/topology';
