// Argument values of the fuzzer, from wrong types to hostile objects. Each has a label for the report.
import { createContext, runInContext } from 'node:vm';
import type { Fixture } from './fixture';
import type { Random } from './random';

export interface Sample {
  label: string;
  value: unknown;
  /** Imitates another object, or runs its own code when it is accessed. */
  forged?: boolean;
}

/** An error that arguments throw. A call may pass it on unchanged. */
export class OwnError extends Error {}

const page = 4096;
const long = 1 << 20;

const numbers = [
  ...[0, 1, 2, 3, 4, 5, 7, 8, 16, 0x80, 0x98, page, 2 * page, 0x10000, 0x40000, 0xffff, 0x1_0000_0000 - 1],
  ...[-0, -1, -page, 1.5, 0.1, NaN, Infinity, -Infinity, 5e-324, 1e308],
  ...[2 ** 31 - 1, 2 ** 31, -(2 ** 31), 2 ** 32, 2 ** 32 + 1, 2 ** 40, 2 ** 53 - 1, 2 ** 53, 2 ** 53 + 2, 2 ** 64],
];
const bigints = [
  ...[0n, 1n, 4n, 8n, 4095n, 4096n, 0x8000n, 0x10000n, 0x1000000n, 2n ** 32n, 2n ** 40n - 1n, 2n ** 40n],
  ...[-1n, -4096n, -(2n ** 63n), -(2n ** 64n), 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 2n],
  ...[2n ** 64n - 1n, 2n ** 64n, 2n ** 64n + 4096n, 2n ** 128n, 2n ** 4096n],
];
const strings = [
  ...['', ' ', '0', '1', 'r', 'w', 'rw', 'wr', '2M', '1G', 'DMA_BUF', 'BUS_MASTER', 'engine', 'ssd', 'reference'],
  ...[
    '/dev/iommu',
    '/dev/udmabuf',
    '/dev/dma_heap/system',
    'system',
    'future-write',
    '/dev/vfio/devices/vfio1',
    '/dev/vfio/devices/vfio9',
    '/dev/vfio/',
    '/dev/null',
    '/',
  ],
  ...['0000:01:00.0', '02:00.0', '0000:7f:00.0', '0000:01:00.8', '../..', '0000:01:00.0/../..', '/dev/iommu\0x', '\0'],
  ...['\ud800', 'a\udfff', 'näme', '\u{1f600}'.repeat(8), 'x'.repeat(31), 'x'.repeat(32), 'a\nb\texp_name:\tc'],
  ...['__proto__', 'constructor', 'toString', 'length', '%s%n%p', '\u202e', 'x'.repeat(long), '\ud83d'.repeat(long)],
];
const symbols = [Symbol('own'), Symbol.iterator, Symbol.dispose];

const elementTypes: readonly string[] = [
  ...['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array'],
  ...['Float32Array', 'Float64Array', 'BigInt64Array', 'BigUint64Array', 'Float16Array'],
].filter((name) => name in globalThis);

type ViewConstructor = new (buffer: ArrayBufferLike, offset?: number, length?: number) => unknown;

const realm = createContext({});

function show(value: unknown): string {
  if (typeof value === 'string') {
    return value.length > 60 ? `${JSON.stringify(value.slice(0, 4))} × ${value.length}` : JSON.stringify(value);
  }
  if (typeof value === 'bigint') return value > 2n ** 65n ? `2n**${value.toString(2).length - 1}n` : `${value}n`;
  if (Object.is(value, -0)) return '-0';
  return String(value);
}

export function primitive(random: Random): Sample {
  const value = random.pick<() => unknown>([
    () => undefined,
    () => null,
    () => random.percent(50),
    () => random.pick(numbers),
    () => random.pick(numbers),
    () => random.pick(bigints),
    () => random.pick(bigints),
    () => random.pick(strings),
    () => random.pick(symbols),
    () => random.below(40), // possibly an open fd
  ])();
  return { label: show(value), value };
}

function detached(buffer: ArrayBuffer): ArrayBuffer {
  structuredClone(buffer, { transfer: [buffer] });
  return buffer;
}

// The installed TypeScript library lacks this type.
type GrowableSharedArrayBuffer = SharedArrayBuffer & { grow(size: number): void };
const growable = (size: number, maxByteLength: number) =>
  Reflect.construct(SharedArrayBuffer, [size, { maxByteLength }]) as GrowableSharedArrayBuffer;

/** Memory for a view, usually of 64 bytes. */
function memory(random: Random, fixture: Fixture): { label: string; make: (view: ViewConstructor) => unknown } {
  const size = 64;
  return random.pick<() => { label: string; make: (view: ViewConstructor) => unknown }>([
    () => ({ label: 'plain', make: (View) => new View(new ArrayBuffer(size)) }),
    () => ({ label: 'empty', make: (View) => new View(new ArrayBuffer(0)) }),
    () => ({ label: 'at an offset', make: (View) => new View(new ArrayBuffer(size), 8, 1) }),
    () => ({ label: 'long', make: (View) => new View(new ArrayBuffer(0x20000)) }),
    () => ({
      label: 'detached',
      make: (View) => {
        const buffer = new ArrayBuffer(size);
        const view = new View(buffer);
        detached(buffer);
        return view;
      },
    }),
    () => ({ label: 'shared', make: (View) => new View(new SharedArrayBuffer(size)) }),
    () => ({
      label: 'shared and grown',
      make: (View) => {
        const buffer = growable(16, size);
        const view = new View(buffer);
        buffer.grow(size);
        return view;
      },
    }),
    () => ({
      label: 'resizable, shrunk behind a view that follows',
      make: (View) => {
        const buffer = new ArrayBuffer(size, { maxByteLength: 2 * size });
        const view = new View(buffer);
        buffer.resize(random.pick([0, 8, 2 * size]));
        return view;
      },
    }),
    () => ({
      label: 'resizable, shrunk under a fixed view',
      make: (View) => {
        const buffer = new ArrayBuffer(size, { maxByteLength: 2 * size });
        const view = new View(buffer, 32, 2);
        buffer.resize(32);
        return view;
      },
    }),
    () => ({ label: 'DMA memory', make: (View) => new View(fixture.buffer) }),
  ])();
}

/** A view of any type over any memory. */
export function view(random: Random, fixture: Fixture): Sample {
  const type = random.pick([...elementTypes, ...elementTypes, 'DataView', 'Buffer']);
  const { label, make } = memory(random, fixture);
  const value = make(
    type === 'Buffer' ? Uint8Array : (globalThis as unknown as Record<string, ViewConstructor>)[type]!,
  );
  if (type !== 'Buffer') return { label: `${type}(${label})`, value };
  const { buffer, byteOffset, byteLength } = value as Uint8Array<ArrayBuffer>;
  return {
    label: `Buffer(${label})`,
    value: byteLength === 0 ? Buffer.alloc(0) : Buffer.from(buffer, byteOffset, byteLength),
  };
}

const builtins: Record<string, (random: Random, fixture: Fixture) => unknown> = {
  '[]': () => [],
  '[1, 2, 3]': () => [1, 2, 3],
  '[undefined × 70000]': () => Array.from({ length: 70_000 }),
  '[{}]': () => [{}],
  '{}': () => ({}),
  'Object.create(null)': () => Object.create(null) as object,
  'frozen {}': () => Object.freeze({}),
  Map: () => new Map([['iova', 0n]]),
  Set: () => new Set([1]),
  WeakMap: () => new WeakMap(),
  Date: () => new Date(0),
  RegExp: () => /x/g,
  Error: () => new Error('an argument'),
  'Promise of 1': () => Promise.resolve(1),
  'a promise for ever': () => new Promise(() => {}),
  'new Number(4096)': () => new Number(4096),
  'new String("rw")': () => new String('rw'),
  'ArrayBuffer(64)': () => new ArrayBuffer(64),
  'ArrayBuffer(detached)': () => detached(new ArrayBuffer(64)),
  'SharedArrayBuffer(64)': () => new SharedArrayBuffer(64),
  'a function': () => () => 0,
  'a function that throws': () => () => {
    throw new OwnError('from a function');
  },
  'an async function': () => async () => 1,
  'a class': () => OwnError,
  'an AbortSignal': () => new AbortController().signal,
  'an aborted AbortSignal': () => AbortSignal.abort(),
  'a generator': () =>
    (function* () {
      yield 1n;
    })(),
  'another realm’s Uint8Array': () => runInContext('new Uint8Array(16)', realm) as unknown,
  'another realm’s {}': () => runInContext('({ iova: 4096n })', realm) as unknown,
  globalThis: () => globalThis,
  'the DMA memory’s ArrayBuffer': (_, fixture) => fixture.buffer,
  'the DMA memory, taken out of its ArrayBuffer': (_, fixture) => fixture.takeBuffer(),
};

function builtin(random: Random, fixture: Fixture): Sample {
  const label = random.pick(Object.keys(builtins));
  return { label, value: builtins[label]?.(random, fixture) };
}

const traps = [
  ...['get', 'set', 'has', 'deleteProperty', 'ownKeys', 'getOwnPropertyDescriptor', 'defineProperty'],
  ...['getPrototypeOf', 'setPrototypeOf', 'isExtensible', 'preventExtensions', 'apply', 'construct'],
];

function throwing(what: string): () => never {
  return () => {
    throw new OwnError(what);
  };
}

const throwAll = Object.fromEntries(traps.map((trap) => [trap, throwing(`trap ${trap}`)]));

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

function proxy(random: Random, fixture: Fixture): Sample {
  const target = fixture.any(random);
  const options = [
    { label: 'Proxy that throws', value: new Proxy({}, throwAll) },
    { label: 'Proxy of a function that throws', value: new Proxy(() => {}, throwAll) },
    { label: 'Proxy of an array that throws', value: new Proxy([], throwAll) },
    { label: 'revoked Proxy', value: revoked() },
    { label: `Proxy of ${target.label}`, value: new Proxy(target.value, {}) },
    { label: 'Proxy of a Uint8Array', value: new Proxy(new Uint8Array(16), {}) },
    { label: 'Proxy of [] that is everything', value: new Proxy([], { get: () => 1, has: () => true }) },
  ];
  return { ...random.pick(options), forged: true };
}

/** An object with the same properties as an instance, but of another class. */
function lookalike(random: Random, fixture: Fixture): Sample {
  const { label, value } = fixture.any(random);
  const object = value;
  const prototype = Reflect.getPrototypeOf(object);
  return random.pick<() => Sample>([
    () => ({ label: `Object.create(prototype of ${label})`, value: Object.create(prototype) as unknown, forged: true }),
    () => ({ label: `Object.create(${label})`, value: Object.create(object) as unknown, forged: true }),
    () => ({ label: `{ ...${label} }`, value: { ...object }, forged: true }),
    () => ({
      label: `copy of ${label} with its prototype`,
      value: Object.assign(Object.create(prototype) as object, Object.fromEntries(Object.entries(object))),
      forged: true,
    }),
    () => ({ label: `prototype of ${label}`, value: prototype, forged: true }),
    () => ({ label: `constructor of ${label}`, value: object.constructor, forged: true }),
  ])();
}

/** Plausible values of an option, by its name. */
const plausible: Record<string, (random: Random, fixture: Fixture) => Sample> = {};
function expect(names: string, values: readonly unknown[]): void {
  for (const name of names.split(' ')) {
    plausible[name] = (random) => {
      const value = random.pick(values);
      return { label: show(value), value };
    };
  }
}
expect('iova start', [0n, 4096n, 0x10000n, 0x200000, 0x7f_ffff_f000n, 0xfee0_0000n, undefined]);
expect('offset', [0, 0n, 4096, 8192n, 0x10000, undefined]);
expect('length size', [4096, 8192n, 0x10000, 0, 0x100000n, undefined]);
expect('access', ['r', 'w', 'rw', undefined]);
expect('region index', [0, 1, 2, 5, 6, 7]);
expect('hugePages', ['2M', '1G', undefined]);
expect('path', ['/dev/iommu', '/dev/null', undefined]);
for (const [name, owner] of Object.entries({ kernel: 'FakeKernel', iommufd: 'Iommufd', dmaBuf: 'DmaBuf' })) {
  plausible[name] = (random, fixture) => fixture.instance(owner, random);
}
const rangeLists = [0, 1, 2, 3, 40, 65_536, 65_537].map((count) =>
  Array.from({ length: count }, () => ({ offset: 0n, length: 4096n })),
);
plausible['ranges'] = (random) => {
  const value = random.pick(rangeLists);
  return { label: `${value.length} ranges`, value };
};

/**
 * An options object with some option names of the library, and values that are valid, invalid, throw or have side
 * effects.
 */
export function optionsObject(random: Random, fixture: Fixture, names: readonly string[]): Sample {
  const object: Record<string, unknown> = {};
  const labels: string[] = [];
  let forged = false;
  const known = Object.keys(plausible);
  for (let i = random.below(5); i >= 0; i -= 1) {
    const name = random.percent(80) ? random.pick(known) : random.pick(names);
    const sample =
      random.percent(70) && Object.hasOwn(plausible, name)
        ? plausible[name]!(random, fixture)
        : any(random, fixture, names);
    if (sample.forged === true) forged = true;
    if (random.percent(92)) {
      Object.defineProperty(object, name, {
        value: sample.value,
        configurable: true,
        enumerable: true,
        writable: true,
      });
      labels.push(`${name}: ${sample.label}`);
      continue;
    }
    forged = true;
    const victim = fixture.any(random);
    const bites = random.percent(60);
    Object.defineProperty(object, name, {
      enumerable: true,
      configurable: true,
      get: bites
        ? () => {
            fixture.closeQuietly(victim.value);
            return sample.value;
          }
        : throwing(`getter ${name}`),
    });
    labels.push(bites ? `get ${name}: closes ${victim.label}, then ${sample.label}` : `get ${name}: throws`);
  }
  return { label: `{ ${labels.join(', ')} }`, value: object, forged };
}

/** An object whose conversion to a primitive throws or has side effects. */
function coercible(random: Random, fixture: Fixture): Sample {
  const victim = fixture.any(random);
  return random.pick<() => Sample>([
    () => ({
      label: '{ valueOf: throws }',
      value: { valueOf: throwing('valueOf'), toString: throwing('toString') },
      forged: true,
    }),
    () => ({
      label: '{ toPrimitive: throws }',
      value: { [Symbol.toPrimitive]: throwing('toPrimitive') },
      forged: true,
    }),
    () => ({
      label: `{ valueOf: closes ${victim.label}, then 4 }`,
      value: {
        valueOf: () => {
          fixture.closeQuietly(victim.value);
          return 4;
        },
      },
      forged: true,
    }),
    () => ({
      label: '{ then: throws }',
      value: {
        get then() {
          return throwing('then')();
        },
      },
      forged: true,
    }),
    () => ({ label: '{ length: 2 ** 53 }', value: { length: 2 ** 53 }, forged: true }),
  ])();
}

/** Any value. */
export function any(random: Random, fixture: Fixture, names: readonly string[]): Sample {
  const choice = random.below(100);
  if (choice < 45) return primitive(random);
  if (choice < 60) return fixture.any(random);
  if (choice < 70) return view(random, fixture);
  if (choice < 80) return builtin(random, fixture);
  if (choice < 85) return proxy(random, fixture);
  if (choice < 92) return lookalike(random, fixture);
  if (choice < 95) return coercible(random, fixture);
  return optionsObject(random, fixture, names);
}
