// Adds error codes to errors.
import { shownError } from './shown';

/**
 * Adds the code as an own property. An assignment would call a setter that a program defined on Object.prototype.
 * @internal
 */
export function coded<E extends Error>(error: E, code: string): E & { code: string } {
  const descriptor = { __proto__: null, value: code, writable: true, enumerable: true, configurable: true };
  Object.defineProperty(error, 'code', descriptor as PropertyDescriptor);
  shownError(error);
  return error as E & { code: string };
}
