// Accessors on the built-in prototypes. An accessor that is not armed behaves like the property that it replaces: its
// getter returns the previous value, and its setter assigns. But it records the access.

// The functions that the accessors use. Property look-ups here would trigger the accessors themselves.
const { apply, defineProperty, deleteProperty, getOwnPropertyDescriptor } = Reflect;
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with a set
const { add } = Set.prototype;

export type Name = string | symbol;

/** The behaviour of an armed accessor. */
export type Attack =
  | 'get throws'
  | 'set throws'
  /** Returns a useless value. */
  | 'get lies'
  /** Drops the assignment: the object lacks the property. */
  | 'set keeps';

export const attacks: readonly Attack[] = ['get throws', 'set throws', 'get lies', 'set keeps'];

const constructors = [
  ...[Object, Function, Array, ArrayBuffer, SharedArrayBuffer, DataView, Promise, Map, Set, WeakRef, RegExp, String],
  ...[Error, TypeError, RangeError, Object.getPrototypeOf(Uint8Array) as object, Uint8Array, Int32Array, Uint32Array],
  ...[BigUint64Array, BigInt, Number, AbortSignal, WeakMap, FinalizationRegistry],
] as { prototype: object }[];

const prototypes: object[] = constructors.map(({ prototype }) => prototype);

const state = { name: undefined as Name | undefined, attack: 'get throws' as Attack };

/** The names that were accessed. */
export const met = new Set<Name>();
/** Functions that a setter got as its receiver or value. */
export const caught: ((...args: unknown[]) => unknown)[] = [];
let caughtCount = 0;

/** Appends a function without looking up a property of an array. */
function keep(value: unknown): void {
  if (typeof value !== 'function' || caughtCount >= 1000) return;
  defineProperty(caught, caughtCount, {
    __proto__: null,
    value,
    writable: true,
    configurable: true,
  } as PropertyDescriptor);
  caughtCount += 1;
}

class Attacked extends Error {}

function install(prototype: object, name: Name): void {
  const before = getOwnPropertyDescriptor(prototype, name);
  if (before?.configurable === false || (!before && prototype !== Object.prototype)) return;
  const original = before && 'value' in before ? before : undefined;
  const get = function (this: unknown): unknown {
    apply(add, met, [name]);
    if (state.name === name) {
      if (state.attack === 'get throws') throw new Attacked('a getter');
      if (state.attack === 'get lies') return 77;
    }
    if (original) return original.value as unknown;
    return before?.get === undefined ? undefined : apply(before.get, this, []);
  };
  const set = function (this: unknown, value: unknown): void {
    apply(add, met, [name]);
    keep(this);
    keep(value);
    if (state.name === name) {
      if (state.attack === 'set throws') throw new Attacked('a setter');
      if (state.attack === 'set keeps') return;
    }
    if (before?.set) apply(before.set, this, [value]);
    else if (typeof this === 'object' || typeof this === 'function') {
      const descriptor = { __proto__: null, value, writable: true, enumerable: true, configurable: true };
      defineProperty(this!, name, descriptor as PropertyDescriptor);
    }
  };
  const enumerable = before?.enumerable ?? false;
  defineProperty(prototype, name, { __proto__: null, get, set, enumerable, configurable: true } as PropertyDescriptor);
  installed[installed.length] = () => {
    if (before) defineProperty(prototype, name, before);
    else deleteProperty(prototype, name);
  };
}

const installed: (() => void)[] = [];

export function installAll(names: readonly Name[]): void {
  for (const prototype of prototypes) for (const name of names) install(prototype, name);
}

/** Restores the prototypes. */
export function removeAll(): void {
  for (let i = installed.length - 1; i >= 0; i -= 1) installed[i]!();
  installed.length = 0;
}

export function arm(name: Name, attack: Attack): void {
  state.name = name;
  state.attack = attack;
}

export function disarm(): void {
  state.name = undefined;
}
