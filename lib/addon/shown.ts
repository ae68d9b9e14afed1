// What people see of an object: toJSON(), and the output of util.inspect() and console.log(). A class names the
// properties that it shows; this file does the rest. Neither throws, whatever state the object is in: a property that
// cannot be read, because the object is closed for example, is left out.
//
// Bigints are hexadecimal, as addresses are: '0x1000' in JSON, 0x1000n in the output of inspect().

import { errorFields } from './coded';

const custom = Symbol.for('nodejs.util.inspect.custom');

/** What util.inspect() passes to an object's own function. */
interface InspectOptions {
  readonly stylize: (text: string, style: string) => string;
}
type Inspect = (value: unknown, options: object) => string;

/** A shown property: its name, or a name and a function that returns the value. @internal */
export type Shown<T> = (keyof T & string) | readonly [name: string, of: (object: T) => unknown];

const hex = (value: bigint) => `${value < 0n ? '-' : ''}0x${(value < 0n ? -value : value).toString(16)}`;

/** Displays a bigint in hexadecimal in the output of inspect(). */
class Hex {
  readonly #value: bigint;

  constructor(value: bigint) {
    this.#value = value;
  }

  [custom](_: number, { stylize }: InspectOptions): string {
    return stylize(`${hex(this.#value)}n`, 'bigint');
  }
}

/** Reads the shown properties. Leaves out those that are undefined or cannot be read. */
function read<T>(object: T, shown: readonly Shown<T>[]): [string, unknown][] {
  return shown.flatMap((one): [string, unknown][] => {
    try {
      const [name, value] = typeof one === 'string' ? [one, object[one]] : [one[0], one[1](object)];
      return value === undefined ? [] : [[name, value]];
    } catch {
      return [];
    }
  });
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** Copies arrays and plain objects, with `leaf` for all other values. A cycle becomes `'[Circular]'`. */
function copy(value: unknown, leaf: (value: unknown) => unknown, above: readonly object[] = []): unknown {
  if (typeof value !== 'object' || value === null) return leaf(value);
  if (above.includes(value)) return '[Circular]';
  const inner = (member: unknown) => copy(member, leaf, [...above, value]);
  if (Array.isArray(value)) return Array.from(value, inner);
  if (!isPlain(value) || Object.hasOwn(value, custom)) return leaf(value);
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, inner(member)]));
}

/** Copies a value for JSON. Objects with their own toJSON() keep it. */
export function plain(value: unknown): unknown {
  return copy(value, (leaf) => (typeof leaf === 'bigint' ? hex(leaf) : leaf));
}

function inspectable(value: unknown): unknown {
  return copy(value, (leaf) => (typeof leaf === 'bigint' ? new Hex(leaf) : leaf));
}

function attempt(call: () => unknown, otherwise: unknown): unknown {
  try {
    return call();
  } catch {
    return otherwise; // a hostile object within the shown properties
  }
}

function define(object: object, name: string | symbol, value: (...args: never[]) => unknown): void {
  const descriptor = { __proto__: null, value, writable: true, enumerable: false, configurable: true };
  Object.defineProperty(object, name, descriptor as PropertyDescriptor);
}

/** Adds toJSON() and inspect()'s function to a prototype, or to an object without a class. */
function add<T>(to: object, title: string, shown: readonly Shown<T>[]): void {
  define(to, 'toJSON', function (this: T) {
    return attempt(() => plain(Object.fromEntries(read(this, shown))), {});
  });
  define(to, custom, function (this: T, depth: number, options: InspectOptions, inspect: Inspect) {
    const short = `[${title}]`;
    return attempt(() => {
      if (depth < 0) return options.stylize(short, 'special');
      return `${title} ${inspect(inspectable(Object.fromEntries(read(this, shown))), options)}`;
    }, short);
  });
}

/** Says which properties people see of a class's objects. @internal */
export function shown<T extends object>(
  type: { readonly name: string; readonly prototype: T },
  ...properties: readonly Shown<T>[]
): void {
  add(type.prototype, type.name, properties);
}

/** As {@link shown}, for one object without a class. Returns the object. @internal */
export function shownObject<T extends object>(object: T, title: string, ...properties: readonly Shown<T>[]): T {
  add(object, title, properties);
  return object;
}

function dataToJson(this: object): unknown {
  return attempt(
    () =>
      Array.isArray(this)
        ? Array.from(this, plain)
        : Object.fromEntries(Object.entries(this).map(([name, value]) => [name, plain(value)])),
    {},
  );
}

/** Adds toJSON() to an array or a plain object with bigints, which JSON.stringify() refuses. Returns it. @internal */
export function data<T extends object>(value: T): T {
  define(value, 'toJSON', dataToJson);
  return value;
}

/** As {@link shown}, for a class of errors: inspect() shows the stack and these properties. @internal */
export function shownErrors<T extends Error>(
  type: { readonly name: string; readonly prototype: T },
  ...properties: readonly Shown<T>[]
): void {
  define(type.prototype, 'toJSON', function (this: T) {
    return attempt(() => plain(errorFields(this)), {});
  });
  define(type.prototype, custom, function (this: T, depth: number, options: InspectOptions, inspect: Inspect) {
    return attempt(() => {
      if (depth < 0) return options.stylize(`[${this.message}]`, 'special');
      return `${String(this.stack)} ${inspect(inspectable(Object.fromEntries(read(this, properties))), options)}`;
    }, type.name);
  });
}
