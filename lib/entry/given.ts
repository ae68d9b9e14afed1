// Connects the lower modules with the higher ones: error hints, fake kernels for VFIO_DMABUF_KERNEL, and the types of
// parent classes. Every entry point of the package imports this file.
import { giveHints } from '../errors/errors';
import { FakeKernel } from '../fake/kernel';
import { machines } from '../fake/machines';
import { hintFor } from '../hints';
import type { Ioas } from '../iommufd/ioas';
import type { Iommufd } from '../iommufd/iommufd';
import type { Viommu } from '../iommufd/viommu';
import { giveFakeKernels } from '../kernel/default-kernel';
import type { ContainerSpace } from '../vfio/container-space';
import type { VfioDevice } from '../vfio/device';
import type { Migration } from '../vfio/migration';
import type { Region } from '../vfio/region';

declare module '../lifetime/parents' {
  interface Parents {
    ContainerSpace: ContainerSpace;
    Ioas: Ioas;
    Iommufd: Iommufd;
    Migration: Migration;
    Region: Region;
    VfioDevice: VfioDevice;
    Viommu: Viommu;
  }
}

giveHints(hintFor);
giveFakeKernels(
  Object.fromEntries(Object.entries(machines).map(([name, machine]) => [name, () => new FakeKernel(machine)])),
  (host) => FakeKernel.ofHost(host),
);
