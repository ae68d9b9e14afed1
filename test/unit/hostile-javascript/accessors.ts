// Accessors on the prototypes that every object has. As long as none is armed they change nothing that a program sees: a
// getter gives what was there before, and a setter does what an assignment does. But they note who came by.

// What the accessors themselves use: they must not come by each other.
const { apply, defineProperty, deleteProperty, getOwnPropertyDescriptor } = Reflect;
// eslint-disable-next-line @typescript-eslint/unbound-method -- called with a set
const { add } = Set.prototype;

export type Name = string | symbol;

/** What an armed accessor does. */
export type Attack =
  | 'get throws'
  | 'set throws'
  /** Gives something that is of no use. */
  | 'get lies'
  /** Keeps the value: the object is left without the property. */
  | 'set keeps';

export const attacks: readonly Attack[] = ['get throws', 'set throws', 'get lies', 'set keeps'];

const constructors = [
  ...[Object, Function, Array, ArrayBuffer, SharedArrayBuffer, DataView, Promise, Map, Set, WeakRef, RegExp, String],
  ...[Error, TypeError, RangeError, Object.getPrototypeOf(Uint8Array) as object, Uint8Array, Int32Array, Uint32Array],
  ...[BigUint64Array, BigInt, Number, AbortSignal, WeakMap, FinalizationRegistry],
] as { prototype: object }[];

const prototypes: object[] = constructors.map(({ prototype }) => prototype);

const state = { name: undefined as Name | undefined, attack: 'get throws' as Attack };

/** The names that were asked for through an accessor. */
export const met = new Set<Name>();
/** Functions that a setter saw, as the object or as the value. */
export const caught: ((...args: unknown[]) => unknown)[] = [];
let caughtCount = 0;

/** Where the count stands, without a property of an array being looked up. */
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

/** Everything is as it was before the accessors. */
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
