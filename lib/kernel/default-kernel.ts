// Selects the kernel for calls without a `kernel` option.
import { readFileSync } from 'node:fs';
import { codedError } from '../errors/errors';
import { Kernel } from './kernel';
import { parseRecorded, type RecordedHost } from './recorded';
import { instance } from '../errors/validate';

let chosen: Kernel | undefined;
let fakes: Readonly<Record<string, () => Kernel>> = {};
let fakeOfHost: ((host: RecordedHost) => Kernel) | undefined;

/**
 * Sets the functions that create fake kernels, by machine name and of a recorded host. They are in a folder that depends on this one.
 * @internal
 */
export function giveFakeKernels(
  given: Readonly<Record<string, () => Kernel>>,
  ofHost: (host: RecordedHost) => Kernel,
): void {
  fakes = given;
  fakeOfHost = ofHost;
}

function choose(): Kernel {
  const name = process.env['VFIO_DMABUF_KERNEL'] ?? 'system';
  if (name === 'system') return Kernel.system;
  const wanted = name === 'fake' ? 'reference' : name.replace(/^fake:/, '');
  if (/^fake:.*[/.]/.test(name) && fakeOfHost) return fakeOfHost(parseRecorded(readFileSync(wanted, 'utf8')));
  const make = Object.hasOwn(fakes, wanted) ? fakes[wanted] : undefined;
  if (!/^fake(:|$)/.test(name) || !make) {
    throw codedError(
      'ERR_UNKNOWN_KERNEL',
      `VFIO_DMABUF_KERNEL is '${name}'; it can be system, fake or fake:MACHINE, where MACHINE is one of ` +
        `${Object.keys(fakes).join(', ')}, or the path of a recorded host (host.json)`,
    );
  }
  return make();
}

/**
 * The kernel for calls without a `kernel` option: the system's, or the one in the environment variable
 * `VFIO_DMABUF_KERNEL` (`system`, `fake`, `fake:MACHINE`, `fake:HOST.json`). Each thread creates its own fake kernel;
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
