// The exports of vfio-dmabuf that connect devices and processes.
import '../addon/runtime'; // first
import './given';

export {
  FdChannel,
  type ChannelKind,
  type ChannelOptions,
  type FdMessage,
  type FdSource,
  type PeerCredentials,
} from '../ipc/fd-channel';
export { FdServer, type ListenSocketOptions } from '../ipc/fd-server';
export { ReceivedFd } from '../ipc/received-fd';
export { ShareClient, type SharedBuffer, type ShareClientEvents, type ShareClientOptions } from '../ipc/share-client';
export { shareVersion, type SharedBufferInfo } from '../ipc/share-protocol';
export { ShareServer, type ShareOffer, type ShareOptions, type ShareServerEvents } from '../ipc/share-server';
export {
  NvmeController,
  type BarRange,
  type EnableCmbOptions,
  type NvmeCapabilities,
  type NvmeCmb,
} from '../nvme/controller';
export {
  PeerSpace,
  type PeerDevice,
  type PeerMemory,
  PeerShare,
  type PeerSpaceEvents,
  type PeerSpaceOptions,
} from '../peer-space/peer-space';
