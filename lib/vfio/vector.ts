// Vector: an eventfd that receives one vector's interrupts, and its listeners.
import { Counter } from '../events/counter';
import { kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { native, type FdHandle } from '../addon/native';

/** @internal */
export class Vector {
  readonly counter: Counter;
  readonly #fd: FdHandle;

  /** @param settled called when all listeners have handled the interrupts */
  constructor(kernel: Kernel, settled: (() => void) | undefined) {
    this.#fd = kernelCall({}, () => native.fdEventfd(kernel.handle, 0));
    this.counter = new Counter(this.#fd, settled);
  }

  get fd(): number {
    return native.fdNumber(this.#fd);
  }

  close(): void {
    this.counter.end();
    native.fdClose(this.#fd, false);
  }
}
