// The kinds of attacks. Each has its own process and returns the faults that it found.
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { arm, attacks, caught, disarm, installAll, met, removeAll, type Attack, type Name } from './accessors';
import { FakeKernel } from '../../../lib/fake';
import { native } from '../../../lib/addon/native';
import { names, symbols } from './names';
import { Made, Stage } from './program';

type Say = (what: string) => void;

/** Whether to attack every name, and not only those that the program accesses. Takes minutes. */
const long = process.env['VFIO_DMABUF_HOSTILE'] === 'long';
const patience = 150; // milliseconds

// While these names have accessors, no code in the process can define a property with an ordinary descriptor.
const ofDescriptors: Name[] = ['get', 'set', 'value', 'writable', 'enumerable', 'configurable'];
const all: Name[] = [...names.filter((name) => !ofDescriptors.includes(name)), ...symbols];

async function collect(): Promise<void> {
  for (let i = 0; i < 4; i += 1) {
    globalThis.gc!();
    await sleep(1);
  }
}

/** Calls the recorded functions after their objects were collected. */
async function callCaught(): Promise<void> {
  await collect();
  for (const call of caught) {
    for (const args of [[], [3], [0n, {}], [{}, {}, {}]]) {
      // Only native functions: JavaScript functions cannot do harm.
      if (!Function.prototype.toString.call(call).includes('[native code]')) continue;
      if (!['sync', 'word', 'mapFd', 'unmap', 'read32', 'write32'].includes(call.name)) continue;
      try {
        call(...args);
      } catch {
        // Expected.
      }
    }
  }
}

/** Runs `work` while an accessor is armed. Ends after a time limit, even if the promise of `work` never settles. */
function bounded(name: Name, attack: Attack, work: () => Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(over, patience);
    function over(): void {
      disarm();
      clearTimeout(late);
      resolve();
    }
    // Arms after the caller has started to await the promise, as await reads properties, too.
    setImmediate(() => {
      arm(name, attack);
      try {
        work().then(over, over);
      } catch {
        // The attack broke Promise.prototype.then itself.
      }
    });
  });
}

function show(name: Name): string {
  return typeof name === 'symbol' ? name.description! : name;
}

/** One attack on one name, for one half of the program. */
async function attackName(stage: Stage, name: Name, attack: Attack, asynchronous: boolean): Promise<string[]> {
  const made = new Made();
  if (asynchronous) {
    await bounded(name, attack, () => stage.runAsync(made));
  } else {
    arm(name, attack);
    try {
      stage.runSync(made);
    } catch {
      // The attack broke the program itself.
    }
    disarm();
  }
  return stage.check(made).map((wrong) => `${show(name)}, ${attack}: ${wrong}`);
}

/** The names that a run accesses. */
function metBy(stage: Stage): Name[] {
  installAll(all);
  met.clear();
  const made = new Made();
  stage.runSync(made);
  removeAll();
  stage.check(made);
  return [...met];
}

/** The names that Node's own event loop accesses. An attack on them stops the event loop, so no test would run. */
async function metByNode(): Promise<Set<Name>> {
  met.clear();
  for (let i = 0; i < 20; i += 1) {
    const timers = [9, 5, 7, 3, 1].map((delay) => setTimeout(() => undefined, delay + i));
    const [signal, waiting] = [AbortSignal.timeout(1), new Promise(setImmediate)];
    await Promise.allSettled([stat(__dirname), sleep(i % 4, undefined, { signal }), waiting]);
    for (const timer of timers.splice(i % 5)) clearTimeout(timer);
    await sleep(1);
  }
  return new Set(met);
}

/** Attacks the names that a run accesses; other names have no effect on it. Attacked runs may access further names. */
async function attackAll(say: Say, asynchronous: boolean): Promise<string[]> {
  process.on('uncaughtException', () => undefined); // errors of Node's own code, in which a getter threw
  const stage = new Stage();
  const wrong: string[] = [];
  installAll(all);
  const ofNode = asynchronous ? await metByNode() : new Set<Name>();
  met.clear();
  const made = new Made();
  if (asynchronous) await stage.runAsync(made);
  else stage.runSync(made);
  wrong.push(...made.errors.map((error) => `fails with accessors that do nothing: ${String(error)}`));
  wrong.push(...stage.check(made));
  const done = new Set<Name>();
  for (;;) {
    const next = [...(long ? all : met)].filter((name) => !done.has(name) && !ofNode.has(name));
    if (next.length === 0) break;
    for (const name of next) {
      done.add(name);
      for (const attack of attacks) {
        say(`${show(name)}: ${attack}`);
        wrong.push(...(await attackName(stage, name, attack, asynchronous)));
      }
    }
  }
  removeAll();
  await callCaught();
  stage.close();
  await collect();
  say(`${done.size} names`);
  return wrong;
}

/** Freezes all intrinsic objects, as --frozen-intrinsics does. Everything must work. */
async function freeze(): Promise<string[]> {
  const stage = new Stage();
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    if (!/^[A-Z]/.test(name)) continue; // Node's own globals are created when they are read
    const value: unknown = Reflect.get(globalThis, name);
    if (typeof value !== 'function') continue;
    Object.freeze(value);
    if (typeof value.prototype === 'object') Object.freeze(value.prototype);
  }
  const made = new Made();
  stage.runSync(made);
  await stage.runAsync(made);
  return [...made.errors.map(String), ...stage.check(made)];
}

/** Read-only properties on the prototypes, which make an assignment to a property of that name fail. */
async function readOnly(say: Say): Promise<string[]> {
  process.on('uncaughtException', () => undefined);
  const stage = new Stage();
  const wrong: string[] = [];
  for (const name of long ? [...all, ...ofDescriptors] : [...metBy(stage), ...ofDescriptors]) {
    if (Object.hasOwn(Object.prototype, name)) continue;
    say(show(name));
    const made = new Made();
    Object.defineProperty(Object.prototype, name, { value: 77, configurable: true });
    try {
      stage.runSync(made);
    } catch {
      // The attack broke the program itself.
    }
    Reflect.deleteProperty(Object.prototype, name);
    wrong.push(...stage.check(made).map((what) => `${show(name)}: ${what}`));
  }
  await collect();
  return wrong;
}

/** Other constructors in Symbol.species, for operations that create an object from an existing one. */
async function species(): Promise<string[]> {
  const stage = new Stage();
  const wrong: string[] = [];
  const typed = Object.getPrototypeOf(Uint8Array) as object;
  const intrinsics = [Array, typed, ArrayBuffer, SharedArrayBuffer, Promise, Map, Set, RegExp];
  const tiny = function () {
    return new Uint8Array(1);
  };
  const none = function () {
    throw new Error('species');
  };
  const answers = [() => tiny, () => none, () => 77];
  for (const intrinsic of intrinsics) {
    for (const answer of answers) {
      const before = Object.getOwnPropertyDescriptor(intrinsic, Symbol.species)!;
      Object.defineProperty(intrinsic, Symbol.species, { configurable: true, get: answer });
      const made = new Made();
      try {
        stage.runSync(made);
      } catch {
        // The attack broke the program itself.
      }
      Object.defineProperty(intrinsic, Symbol.species, before);
      wrong.push(...stage.check(made));
    }
  }
  await collect();
  return wrong;
}

/** Options whose getters close the objects that the call uses, one in each run. */
async function options(): Promise<string[]> {
  const wrong: string[] = [];
  const kernel = new FakeKernel();
  for (let when = 0; when < (long ? 8 : 3); when += 1) {
    for (const victim of ['ioas', 'engine', 'iommufd', 'registers'] as const) {
      const stage = new Stage(kernel);
      const made = new Made();
      const { engine, ioas } = stage;
      const buffer = engine.exportDmaBuf({ region: 0, offset: 0n, length: 4096n });
      let asked = 0;
      const closing = <T extends object>(target: T): T =>
        new Proxy(target, {
          get: (object, name) => {
            if (asked++ === when) stage[victim].close();
            return Reflect.get(object, name) as unknown;
          },
        });
      const calls = [
        () => ioas.mapDmaBuf(buffer, closing({ iova: 0x10000n, offset: 0n, length: 4096n, access: 'rw' as const })),
        () => engine.exportDmaBuf(closing({ region: 0, offset: 0n, length: 4096n })),
        () =>
          engine
            .region(0)
            .map(closing({ offset: 0n, length: 4096n }))
            .read32(0),
        () => stage.registers.read(0, closing(new Uint32Array(2))),
        () => buffer.map(closing({ access: 'r' as const })),
        () => engine.interrupts.msix.enable(1, closing({ start: 0 })),
        () => stage.iommufd.allocIoas(),
      ];
      for (const call of calls) {
        asked = 0;
        try {
          call();
        } catch {
          // Any error is correct.
        }
      }
      for (const mapping of ioas.mappings) {
        if (mapping.state === 'live' && ioas.closed) wrong.push('a mapping is live in an IOAS that is closed');
      }
      wrong.push(...made.succeeded);
      stage.close();
    }
  }
  await collect();
  return wrong;
}

/**
 * Calls the addon's functions with handles of any kind and with invalid values. The sequence is the same in every run.
 */
async function nonsense(say: Say): Promise<string[]> {
  const stage = new Stage();
  const { kernel, iommufd, ioas, engine } = stage;
  const buffer = engine.exportDmaBuf({ region: 0, offset: 0n, length: 4096n });
  const { fd, mapping } = native.memoryAllocate(kernel.handle, 4096n, 0, false);
  const hwpt = native.hwptAllocate(ioas.handle, engine.id!, 0, 0, new Uint8Array(), undefined, false);
  const handles = [kernel.handle, iommufd.handle, ioas.handle, engine.handle, buffer.handle, fd, mapping, hwpt];
  const detached = new Uint8Array(8);
  structuredClone(detached, { transfer: [detached.buffer] });
  const values: unknown[] = [
    ...[undefined, null, true, false, 0, 1, 2, 3, 4, 7, 64, 4096, -1, 0.5, NaN, 0n, 1n, 4096n, 2n ** 63n, 2n ** 64n],
    ...[
      '',
      'text',
      Symbol('symbol'),
      {},
      [],
      () => undefined,
      new Proxy({}, {}),
      new Proxy([], {}),
      Object.create(null) as object,
    ],
    ...[detached, new Uint8Array(0), new Uint8Array(16), new Uint8Array(72), new Int32Array(4), new Uint32Array(2)],
    ...[
      new BigUint64Array(1),
      new BigUint64Array(6),
      new Float64Array(3),
      new ArrayBuffer(8),
      new DataView(new ArrayBuffer(8)),
    ],
    ...[new Uint8Array(new SharedArrayBuffer(8)), [handles[0]], [1, 2, 3], ['text'], new Error('error')],
  ];
  let seed = 1;
  const pick = (list: readonly unknown[]): unknown => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return list[Math.floor((seed / 2 ** 32) * list.length)];
  };
  native.systemKernel(); // loads the addon, from which `native` inherits
  const functions = Object.entries(Object.getPrototypeOf(native) as object)
    .flatMap(([name, found]: [string, unknown]) =>
      typeof found === 'object' ? Object.entries(found!) : [[name, found] as [string, unknown]],
    )
    .filter((entry): entry is [string, (...args: unknown[]) => unknown] => typeof entry[1] === 'function');
  if (functions.length < 100) throw new Error(`the addon has ${String(functions.length)} functions`);
  for (let round = 0; round < (long ? 2000 : 60); round += 1) {
    for (const [name, call] of functions) {
      if (/Close|Retire|[dD]estroy|[rR]elease|fakeFailCall/.test(name) && round % 50 !== 49) continue; // these end it
      const args = Array.from({ length: 8 }, (_, i) => pick(i === 0 || pick([0, 1, 2]) === 0 ? handles : values));
      if (round === 0) say(name);
      try {
        // Promises are not awaited: a read without data would not end.
        Promise.resolve(call(...args)).catch(() => undefined);
      } catch {
        // Expected.
      }
    }
  }
  await collect();
  return [];
}

export const kinds: Record<string, (say: Say) => Promise<string[]>> = {
  'accessors of every name': (say) => attackAll(say, false),
  'accessors of every name, through the event loop': (say) => attackAll(say, true),
  'read-only properties of every name': readOnly,
  'frozen intrinsics': freeze,
  'Symbol.species': species,
  'options that close what they are for': options,
  'arguments of no sense': nonsense,
};
