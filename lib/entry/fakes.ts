// The fake kernels that VFIO_DMABUF_KERNEL selects.
import { FakeKernel } from '../fake/kernel';
import { machines } from '../fake/machines';
import type { Fakes } from '../kernel/default-kernel';

export const fakes: Fakes = {
  machines: Object.keys(machines),
  create: (name) => (Object.hasOwn(machines, name) ? new FakeKernel(machines[name]) : undefined),
  ofHost: (host) => FakeKernel.ofHost(host),
};
