// Adds error codes to errors.

/** An error's name, message and own properties: what JSON.stringify() shows of it. @internal */
export function errorFields(error: Error): Record<string, unknown> {
  const { name, message, cause } = error;
  const why = cause instanceof Error ? { cause: cause.message } : {};
  return { ...Object.fromEntries(Object.entries(error)), name, message, ...why };
}

function toJSON(this: Error): unknown {
  return errorFields(this);
}

/**
 * Adds the code as an own property. An assignment would call a setter that a program defined on Object.prototype. Adds
 * toJSON(), as JSON.stringify() leaves out an error's message otherwise.
 * @internal
 */
export function coded<E extends Error>(error: E, code: string): E & { code: string } {
  const descriptor = { __proto__: null, value: code, writable: true, enumerable: true, configurable: true };
  Object.defineProperty(error, 'code', descriptor as PropertyDescriptor);
  const hidden = { __proto__: null, value: toJSON, writable: true, enumerable: false, configurable: true };
  Object.defineProperty(error, 'toJSON', hidden as PropertyDescriptor);
  return error as E & { code: string };
}
