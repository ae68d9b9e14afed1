// Constructors that are not public: their first argument is a key that only the library has.
import { coded } from '../addon/coded';

/** @internal */
export const key: unique symbol = Symbol('vfio-dmabuf');

/** @internal */
export type Key = typeof key;

/**
 * Call this first in a constructor that is not public. `how` tells how the objects are made.
 *
 * @throws TypeError ERR_ILLEGAL_CONSTRUCTOR @internal
 */
export function onlyInside(given: unknown, name: string, how: string): void {
  if (given === key) return;
  throw coded(new TypeError(`${name} has no public constructor: ${how}`), 'ERR_ILLEGAL_CONSTRUCTOR');
}
