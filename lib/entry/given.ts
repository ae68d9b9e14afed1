// What the lower floors are given from above: hints for the errors, and fake kernels for VFIO_DMABUF_KERNEL. Every entry
// point of the package imports this file.
import { giveHints } from '../errors/errors';
import { FakeKernel } from '../fake/kernel';
import { machines } from '../fake/machines';
import { hintFor } from '../hints';
import { giveFakeKernels } from '../kernel/default-kernel';

giveHints(hintFor);
giveFakeKernels(
  Object.fromEntries(Object.entries(machines).map(([name, machine]) => [name, () => new FakeKernel(machine)])),
);
