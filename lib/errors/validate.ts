// Validates arguments. Invalid arguments throw errors like those of Node and are not passed to the kernel.
import { coded } from '../addon/coded';
import { onlyKnown } from './unknown-option';

/** Describes the value without calling any of its methods. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return `type string (${value.slice(0, 40)})`;
  if (typeof value === 'symbol') return 'a symbol';
  const text = typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean' ? value : '';
  return `type ${typeof value} (${String(text)})`;
}

/** Creates a TypeError with code ERR_INVALID_ARG_TYPE. @internal */
export function invalidType(name: string, expected: string, value: unknown): TypeError {
  return coded(
    new TypeError(`The "${name}" argument must be ${expected}. Received ${describe(value)}`),
    'ERR_INVALID_ARG_TYPE',
  );
}

/** Creates a RangeError with code ERR_OUT_OF_RANGE. @internal */
export function outOfRange(name: string, range: string, value: unknown): RangeError {
  return coded(
    new RangeError(`The value of "${name}" is out of range. It must be ${range}. Received ${describe(value)}`),
    'ERR_OUT_OF_RANGE',
  );
}

/** 2^64 - 1. @internal */
export const u64Max = 0xffff_ffff_ffff_ffffn;

/** Checks for a bigint or a safe integer from `min` to `max` and returns it as a bigint. @internal */
export function u64(value: unknown, name: string, min = 0n, max = u64Max): bigint {
  let result: bigint;
  if (typeof value === 'bigint') result = value;
  else if (typeof value !== 'number') throw invalidType(name, 'of type bigint or number', value);
  else if (!Number.isSafeInteger(value)) throw outOfRange(name, 'a bigint or a safe integer', value);
  else result = BigInt(value);
  if (result < min || result > max) throw outOfRange(name, `>= ${String(min)} and <= ${String(max)}`, value);
  return result;
}

/** Checks for an integer number from `min` to `max`. @internal */
export function integer(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw outOfRange(name, `an integer >= ${String(min)} and <= ${String(max)}`, value);
  }
  return value;
}

/** @internal */
export function string(value: unknown, name: string): string {
  if (typeof value !== 'string') throw invalidType(name, 'of type string', value);
  if (value.includes('\0')) throw outOfRange(name, 'a string without null bytes', value);
  return value;
}

/** @internal */
export function boolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidType(name, 'of type boolean', value);
  return value;
}

/** Empty options. The null prototype ignores properties that a program added to Object.prototype. */
const none = Object.freeze({ __proto__: null });

/**
 * Checks an object argument. Returns a copy of a plain object that reads each property once. Missing properties are
 * undefined, even if a program added properties to Object.prototype. @internal
 */
export function fields<T extends object>(value: T | undefined | null, name: string): T {
  if (value === undefined) return none as object as T;
  if (value === null || typeof value !== 'object') throw invalidType(name, 'of type object', value);
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return { __proto__: null, ...value };
}

/** The names of the properties of all members of a union. */
type Names<T> = T extends unknown ? keyof T & string : never;

/**
 * Checks an options object as {@link fields} does, and that it has no unknown options. `ignored`: see
 * {@link onlyKnown}. @internal
 */
export function options<T extends object>(
  value: T | undefined | null,
  known: readonly Names<T>[],
  name = 'options',
  ignored?: readonly string[],
): T {
  onlyKnown(value, known, name, ignored);
  return fields(value, name);
}

/**
 * Reads one option as {@link options} does, but without the copy, for frequent calls. Call {@link onlyKnown} first.
 * @internal
 */
export function option<T extends object, K extends keyof T>(value: T | undefined | null, name: K): T[K] | undefined {
  if (value === undefined) return undefined;
  if (value === null || typeof value !== 'object') throw invalidType('options', 'of type object', value);
  return Object.hasOwn(value, name) || Object.getPrototypeOf(value) !== Object.prototype ? value[name] : undefined;
}

/** @internal */
export function oneOf<T extends string>(value: unknown, name: string, allowed: readonly T[]): T {
  if (typeof value !== 'string') throw invalidType(name, 'of type string', value);
  if (!allowed.includes(value as T)) throw outOfRange(name, `one of ${allowed.join(', ')}`, value);
  return value as T;
}

/** @internal */
export function instance<T>(value: unknown, name: string, type: { readonly name: string; readonly prototype: T }): T {
  // Classes with private constructors are not constructor types in TypeScript, but instanceof accepts them.
  if (!(value instanceof (type as unknown as abstract new () => object))) {
    throw invalidType(name, `an instance of ${type.name}`, value);
  }
  return value as T;
}

/** @internal */
export function array<T>(value: readonly T[], name: string): readonly T[] {
  if (!Array.isArray(value)) throw invalidType(name, 'an array', value);
  return value as readonly T[];
}

/** Checks for bytes in memory that other threads cannot change or detach. @internal */
export function bytes(value: unknown, name: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw invalidType(name, 'an instance of Uint8Array', value);
  if (!(value.buffer instanceof ArrayBuffer)) throw invalidType(name, 'a Uint8Array of unshared memory', value);
  try {
    Uint8Array.prototype.at.call(value, 0); // throws if the buffer was detached, or shrank below the view
  } catch {
    throw invalidType(name, 'a Uint8Array with its memory', value);
  }
  return value;
}

/** The access of a device to a mapping, or of the CPU to a buffer. */
export type Access = 'r' | 'w' | 'rw';

/** @internal */
export const accesses = ['r', 'w', 'rw'] as const satisfies readonly Access[];

/** Creates a TypeError with code ERR_INVALID_ARG_VALUE. @internal */
export function invalidValue(name: string, expected: string, value: unknown): TypeError {
  return coded(
    new TypeError(`The argument "${name}" must be ${expected}. Received ${describe(value)}`),
    'ERR_INVALID_ARG_VALUE',
  );
}
