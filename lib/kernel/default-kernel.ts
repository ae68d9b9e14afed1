// Which kernel a program talks to when it names none.
import { codedError } from '../errors/errors';
import { Kernel } from './kernel';
import { instance } from '../errors/validate';

let chosen: Kernel | undefined;
let fakes: Readonly<Record<string, () => Kernel>> = {};

/** Gives the fake kernels, by their machines' names: those come from a higher floor. @internal */
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
 * The kernel that is used where none is given: the system's, or what the environment variable `VFIO_DMABUF_KERNEL`
 * says (`system`, `fake`, `fake:MACHINE`). A fake one is made once for each thread; `FakeKernel.attach()` shares one.
 */
export function defaultKernel(): Kernel {
  chosen ??= choose();
  return chosen;
}

/** @internal */
export function toKernel(kernel: Kernel | undefined): Kernel {
  return kernel === undefined ? defaultKernel() : instance(kernel, 'kernel', Kernel);
}
