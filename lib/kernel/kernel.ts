// Kernel selects what system calls run on: the system's kernel or a simulated one.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { native, type KernelHandle } from '../addon/native';

/** An object with mappings that is notified when one of them may have been revoked or can be restored. @internal */
export interface Watcher {
  lookAtMappings(): void;
}

/**
 * A kernel on which devices are opened. `Kernel.system` is the kernel of this process. `FakeKernel` (from
 * `vfio-dmabuf/fake`) is a simulated kernel that needs no hardware.
 */
export class Kernel {
  /** 'system', or the name of the machine that a fake kernel simulates. */
  readonly name: string;
  /** The path of this kernel's sysfs. */
  readonly sysfs: string;
  /** The watchers to notify when a mapping may have been revoked. @internal */
  readonly watchers = new Set<WeakRef<Watcher>>();

  static {
    shown(this, 'name', 'sysfs');
  }

  #handle: KernelHandle | undefined;

  /** @param handle undefined: the system's kernel @internal */
  protected constructor(made: Key, name: string, sysfs: string, handle?: KernelHandle) {
    onlyInside(made, 'Kernel', 'use Kernel.system or new FakeKernel()');
    this.name = name;
    this.sysfs = sysfs;
    this.#handle = handle;
  }

  /** @internal */
  get handle(): KernelHandle {
    this.#handle ??= native.systemKernel(); // sysfs can be read without the addon
    return this.#handle;
  }

  /** The kernel of this process. */
  static readonly system: Kernel = new Kernel(key, 'system', '/sys');
}
