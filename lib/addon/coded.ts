// Adds error codes to errors.

/**
 * Adds the code as an own property. An assignment would call a setter that a program defined on Object.prototype.
 * @internal
 */
export function coded<E extends Error>(error: E, code: string): E & { code: string } {
  const descriptor = { __proto__: null, value: code, writable: true, enumerable: true, configurable: true };
  return Object.defineProperty(error, 'code', descriptor as PropertyDescriptor) as E & { code: string };
}
