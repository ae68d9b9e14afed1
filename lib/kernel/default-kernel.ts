// Selects the kernel for calls without a `kernel` option.
import { readFileSync } from 'node:fs';
import { codedError } from '../errors/errors';
import { Kernel } from './kernel';
import { parseRecorded, type RecordedHost } from './recorded';
import { instance } from '../errors/validate';

let chosen: Kernel | undefined;
/** @internal */
export interface Fakes {
  readonly machines: readonly string[];
  /** `undefined` for an unknown machine. */
  readonly create: (machine: string) => Kernel | undefined;
  readonly ofHost: (host: RecordedHost) => Kernel;
}
let fakes: (() => Fakes) | undefined;

/**
 * Sets the function that loads the fake kernels. They are in a folder that depends on this one.
 * @internal
 */
export function giveFakeKernels(load: () => Fakes): void {
  fakes = load;
}

function choose(): Kernel {
  const name = process.env['VFIO_DMABUF_KERNEL'] ?? 'system';
  if (name === 'system' || !fakes) return Kernel.system;
  const { machines, create, ofHost } = fakes();
  const wanted = name === 'fake' ? 'reference' : name.replace(/^fake:/, '');
  if (/^fake:.*[/.]/.test(name)) return ofHost(parseRecorded(readFileSync(wanted, 'utf8')));
  const kernel = /^fake(:|$)/.test(name) ? create(wanted) : undefined;
  if (kernel) return kernel;
  throw codedError(
    'ERR_UNKNOWN_KERNEL',
    `VFIO_DMABUF_KERNEL is '${name}'; it can be system, fake or fake:MACHINE, where MACHINE is one of ` +
      `${machines.join(', ')}, or the path of a recorded host (host.json)`,
  );
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
