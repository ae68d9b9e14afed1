// The kernel that objects live on: the system's, or one that pretends.
import { native, type KernelHandle } from '../addon/native';

/** Something with mappings that wants to know when one may have been revoked, or can be restored. @internal */
export interface Watcher {
  lookAtMappings(): void;
}

/**
 * A kernel to open devices on. `Kernel.system` is the one this process runs on; `FakeKernel` (from `vfio-dmabuf/fake`)
 * is one that needs no hardware.
 */
export class Kernel {
  /** 'system', or the name of the machine that a fake kernel plays. */
  readonly name: string;
  /** Where this kernel's sysfs is. */
  readonly sysfs: string;
  /** @internal */
  readonly handle: KernelHandle;
  /** Who is told when a mapping may have been revoked. @internal */
  readonly watchers = new Set<WeakRef<Watcher>>();

  /** @internal */
  protected constructor(handle: KernelHandle, name: string, sysfs: string) {
    this.handle = handle;
    this.name = name;
    this.sysfs = sysfs;
  }

  /** The kernel this process runs on. */
  static readonly system: Kernel = new Kernel(native.systemKernel(), 'system', '/sys');
}
