// Interrupts: all kinds of interrupts of a device.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { InterruptIndex } from './interrupt-index';

/**
 * A device's interrupts. Enable them with `device.interrupts.msix.enable(4)`, and receive them with `for await (const
 * count of device.interrupts.msix.listen(0))`. Enabled interrupts are disabled before the device is closed.
 */
export class Interrupts {
  /**
   * The interrupt pin. It is level-triggered: it stays asserted until the driver handles the cause. Each interrupt
   * masks it.
   */
  readonly intx: InterruptIndex;
  readonly msi: InterruptIndex;
  readonly msix: InterruptIndex;
  /** An uncorrectable error of the PCI Express link or the device. */
  readonly error: InterruptIndex;
  /**
   * The kernel requests that the device is closed, because its driver is being unbound. The unbind blocks until then.
   */
  readonly request: InterruptIndex;

  static {
    shown(this, 'intx', 'msi', 'msix', 'error', 'request');
  }

  /** @internal */
  constructor(made: Key, device: Parents['VfioDevice']) {
    onlyInside(made, 'Interrupts', 'use VfioDevice#interrupts');
    this.intx = new InterruptIndex(key, device, 0);
    this.msi = new InterruptIndex(key, device, 1);
    this.msix = new InterruptIndex(key, device, 2);
    this.error = new InterruptIndex(key, device, 3);
    this.request = new InterruptIndex(key, device, 4);
    device.file.adopt({
      close: () => {
        for (const index of this) index.close();
      },
    });
  }

  /** Iterates over all five kinds. */
  *[Symbol.iterator](): Generator<InterruptIndex> {
    yield* [this.intx, this.msi, this.msix, this.error, this.request];
  }
}
