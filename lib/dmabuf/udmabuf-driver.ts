// /dev/udmabuf itself.
import { classNode, openNodeSync } from '../kernel/device-node';
import type { Kernel } from '../kernel/kernel';
import { type FdHandle, native } from '../addon/native';

/** @internal */
export const udmabufPath = '/dev/udmabuf';

/** The driver is open for one call. @internal */
export function withUdmabuf<T>(kernel: Kernel, call: (driver: FdHandle) => T): T {
  const driver = openNodeSync(kernel, classNode(udmabufPath, 'the udmabuf driver', 'misc', 'udmabuf'));
  try {
    return call(driver);
  } finally {
    native.fdClose(driver, false);
  }
}
