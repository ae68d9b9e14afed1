// All kinds of interrupts of a device.
import type { Parents } from '../lifetime/parents';
import { InterruptIndex } from './interrupt-index';

/**
 * A device's interrupts: `device.interrupts.msix.enable(4)`, and then `for await (const count of
 * device.interrupts.msix.listen(0))`. What is enabled is disabled before the device is closed.
 */
export class Interrupts {
  /** The pin, which stays asserted until the device is told; masked by each interrupt. */
  readonly intx: InterruptIndex;
  readonly msi: InterruptIndex;
  readonly msix: InterruptIndex;
  /** An error of the PCI Express link or the device that cannot be corrected. */
  readonly error: InterruptIndex;
  /** The kernel wants the device back: its driver is being unbound. It waits until the device is closed. */
  readonly request: InterruptIndex;

  /** @internal */
  constructor(device: Parents['VfioDevice']) {
    this.intx = new InterruptIndex(device, 0);
    this.msi = new InterruptIndex(device, 1);
    this.msix = new InterruptIndex(device, 2);
    this.error = new InterruptIndex(device, 3);
    this.request = new InterruptIndex(device, 4);
    device.file.adopt({
      close: () => {
        for (const index of this) index.close();
      },
    });
  }

  /** All five. */
  *[Symbol.iterator](): Generator<InterruptIndex> {
    yield* [this.intx, this.msi, this.msix, this.error, this.request];
  }
}
