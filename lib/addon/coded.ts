// Codes of errors.

/**
 * Gives an error its code, as a property of its own: an assignment would run a setter that a program put on
 * Object.prototype. @internal
 */
export function coded<E extends Error>(error: E, code: string): E & { code: string } {
  const descriptor = { __proto__: null, value: code, writable: true, enumerable: true, configurable: true };
  return Object.defineProperty(error, 'code', descriptor as PropertyDescriptor) as E & { code: string };
}
