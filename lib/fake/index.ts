/**
 * A simulated kernel that needs no hardware, and the machines that it and the virtual machine implement.
 *
 * @packageDocumentation
 */
import '../addon/runtime'; // first
import '../entry/given';

export { deviceKinds, type Bar, type DeviceKind, type DeviceKindName, type InfoCapability, type Irq } from './devices';
export { FenceTimeline } from '../dmabuf/fence-timeline';
export { FakeKernel, type DmaFault, type FakeKernelToken } from './kernel';
export {
  addressOf,
  mdevDriver,
  mdevUuid,
  type Machine,
  type MachineDevice,
  type MachineMdev,
  type MachinePort,
} from './machine';
export { legacy, machines, reference } from './machines';
export { qemuArguments } from './qemu';
