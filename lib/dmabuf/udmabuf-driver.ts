// Opens the udmabuf driver, /dev/udmabuf.
import { classNode, openNodeSync } from '../kernel/device-node';
import type { Kernel } from '../kernel/kernel';
import { type FdHandle, native } from '../addon/native';

/** @internal */
export const udmabufPath = '/dev/udmabuf';

/** Runs `call` with the driver open. @internal */
export function withUdmabuf<T>(kernel: Kernel, call: (driver: FdHandle) => T): T {
  const driver = openNodeSync(kernel, classNode(udmabufPath, 'the udmabuf driver', 'misc', 'udmabuf'));
  try {
    return call(driver);
  } finally {
    native.fdClose(driver, false);
  }
}
