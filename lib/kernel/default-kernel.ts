// Selects the kernel for calls without a `kernel` option.
import { codedError } from '../errors/errors';
import { Kernel } from './kernel';
import { instance } from '../errors/validate';

let chosen: Kernel | undefined;
let fakes: Readonly<Record<string, () => Kernel>> = {};

/**
 * Sets the functions that create fake kernels, by machine name. They are in a folder that depends on this one.
 * @internal
 */
export function giveFakeKernels(given: Readonly<Record<string, () => Kernel>>): void {
  fakes = given;
}

function choose(): Kernel {
  const name = process.env['VFIO_DMABUF_KERNEL'] ?? 'system';
  if (name === 'system') return Kernel.system;
  const wanted = name === 'fake' ? 'reference' : name.replace(/^fake:/, '');
  const make = Object.hasOwn(fakes, wanted) ? fakes[wanted] : undefined;
  if (!/^fake(:|$)/.test(name) || !make) {
    throw codedError(
      'ERR_UNKNOWN_KERNEL',
      `VFIO_DMABUF_KERNEL is '${name}'; it can be system, fake or fake:MACHINE, where MACHINE is one of ` +
        Object.keys(fakes).join(', '),
    );
  }
  return make();
}

/**
 * The kernel for calls without a `kernel` option: the system's, or the one in the environment variable
 * `VFIO_DMABUF_KERNEL` (`system`, `fake`, `fake:MACHINE`). Each thread creates its own fake kernel;
 * `FakeKernel.attach()` shares one between threads.
 */
export function defaultKernel(): Kernel {
  chosen ??= choose();
  return chosen;
}

/** @internal */
export function toKernel(kernel: Kernel | undefined): Kernel {
  return kernel === undefined ? defaultKernel() : instance(kernel, 'kernel', Kernel);
}
