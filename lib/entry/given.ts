// Connects the lower modules with the higher ones: error hints, fake kernels for VFIO_DMABUF_KERNEL, and the types of
// parent classes. Every entry point of the package imports this file.
import { giveHints } from '../errors/errors';
import type * as Late from './fakes';
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
// Most programs use no fake kernel: it is loaded with the first one.
// eslint-disable-next-line @typescript-eslint/no-require-imports
giveFakeKernels(() => (require('./fakes') as typeof Late).fakes);
