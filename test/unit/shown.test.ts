// What people see of the library's objects: JSON.stringify(), util.inspect(), and constructors that are not public. The
// classes are found by reflection, so that later additions are tested.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { DmaMemory, ioctlChannel, Iommufd, KernelError, PeerSpace, ReceivedFd, ShareClient } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { classOf, Fixture, validCalls } from '../long/fuzz/fixture';
import { Random } from '../long/fuzz/random';
import { Surface, type Class } from '../long/fuzz/surface';

const surface = new Surface();
let kernel: FakeKernel;
let fixture: Fixture;

/** Classes with a public constructor. */
const open = ['FakeKernel', 'NvmeController', 'ShareServer'];

/** Classes that show nothing but their name. */
const plain = ['Counts'];

/** Names of internal properties: the library's handles, and what an EventEmitter has. */
const internals = /handle|_events|watchers|dependents|attached|\[Function|Symbol\(/i;

/** One object of every class, by the class's name. */
function objects(): Map<string, object> {
  return new Map(fixture.samples.map(({ value }) => [classOf(value), value]));
}

function isClosable(value: unknown): value is { closed?: boolean; close(): unknown } {
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, 'close') === 'function';
}

describe('what people see', function () {
  this.timeout(60_000);

  beforeEach(async () => {
    kernel = new FakeKernel();
    fixture = new Fixture(kernel, []);
    const { memory, shareServer } = fixture.objects;
    fixture.add('space', await PeerSpace.open({ devices: [kernel.addressOf('disk')], kernel }));
    fixture.add('received', ReceivedFd.fromProcess(process.pid, memory.fd, { kernel }));
    fixture.add('shareClient', await ShareClient.connect(shareServer.path, { kernel }));
    const timeline = fixture.objects.eventfd.listen();
    fixture.add('counts', timeline);
    // The list grows while it is read: objects within objects are added.
    for (const { value: outer } of fixture.samples) {
      for (const inner of surface.learn(outer)) {
        if (!fixture.samples.some(({ value }) => value === inner)) fixture.add(classOf(inner), inner);
      }
    }
  });
  afterEach(async () => {
    fixture.close();
    await fixture.objects.iommufd[Symbol.asyncDispose]().catch(() => undefined);
    kernel.close();
  });

  it('is the state of an object of every class, open and closed, without internals', async () => {
    fixture.add('wakeUp', fixture.objects.display.enterLowPowerWithWakeUpSync());
    const found = objects();
    const missing = surface.classes.filter(({ name }) => !found.has(name) && name !== 'Kernel');
    assert.deepEqual(
      missing.map(({ name }) => name),
      [],
    );
    const check = (name: string, object: object): Record<string, unknown> => {
      const text = inspect(object, { depth: 0 });
      assert.ok(text.startsWith(object instanceof Error ? `${name}: ` : `${name} {`) || object instanceof Error, text);
      assert.doesNotMatch(inspect(object), internals, name);
      assert.match(inspect([[[[object]]]]), /\[.*\]/);
      const json = JSON.stringify(object);
      assert.doesNotMatch(json, internals, name);
      return JSON.parse(json) as Record<string, unknown>;
    };
    for (const [name, object] of found) {
      const json = check(name, object);
      if (!plain.includes(name)) assert.notDeepEqual(Object.keys(json), [], name);
      if (isClosable(object) && typeof object.closed === 'boolean') assert.equal(json['closed'], object.closed, name);
    }
    for (const [name, object] of [...found].reverse()) {
      if (isClosable(object) && name !== 'FakeKernel') await Promise.resolve(object.close()).catch(() => undefined);
    }
    for (const [name, object] of found) {
      const json = check(name, object);
      if (!isClosable(object)) continue;
      if (typeof object.closed === 'boolean') assert.equal(json['closed'], true, name);
      if ('state' in json) assert.equal(json['state'], 'closed', name);
    }
  });

  it('makes no system call', async () => {
    const calls: unknown[] = [];
    const listen = (message: unknown) => void calls.push(message);
    const found = objects();
    found.delete('CommandRegister'); // it shows the register's bits
    await setImmediate();
    subscribe(ioctlChannel, listen);
    // The first call starts the trace.
    fixture.objects.ioas.iovaRanges();
    for (const object of found.values()) [JSON.stringify(object), inspect(object)].join();
    await setImmediate();
    await setImmediate();
    unsubscribe(ioctlChannel, listen);
    assert.deepEqual(
      calls.map((call) => (call as { ioctl: string }).ioctl),
      ['IOMMU_IOAS_IOVA_RANGES'],
    );
  });

  it('has addresses and sizes in hexadecimal', () => {
    const { ioas, cmb, topology, ssd } = fixture.objects;
    const mapping = ioas.mapDmaBuf(cmb, { iova: 0x400_0000n, access: 'r' });
    const { id } = ioas;
    assert.equal(
      JSON.stringify(mapping),
      `{"state":"live","iova":"0x4000000","length":"0x10000","offset":"0x0","access":"r","autoRemap":false,"ioas":${String(id)}}`,
    );
    const text = inspect(mapping, { breakLength: Infinity });
    assert.match(text, /^IoasMapping \{ state: 'live', iova: 0x4000000n, length: 0x10000n, /);
    assert.match(inspect({ mapping }, { breakLength: Infinity }), /mapping: IoasMapping \{ state: 'live'/);
    assert.equal(inspect({ a: { b: { c: mapping } } }).includes('[IoasMapping]'), true);
    ssd.resetSync();
    assert.match(JSON.stringify(mapping), /"state":"revoked"/);
    mapping.close();
    assert.match(JSON.stringify(mapping), /"state":"closed"/);

    const addresses = [kernel.addressOf('ssd'), kernel.addressOf('engine')] as const;
    const path = topology.p2pPath(addresses[0], addresses[1]);
    const { from, hops, bandwidth } = JSON.parse(JSON.stringify(path)) as Record<string, unknown>;
    assert.deepEqual([from, bandwidth], [path.from.address, path.bandwidth]);
    assert.deepEqual(
      hops,
      path.hops.map(({ address }) => address),
    );
    assert.match(inspect(path), /^P2pPath \{/);
    const shared = topology.sharedIoas(addresses);
    assert.equal(JSON.stringify(shared.windows.length > 0), 'true');
    assert.match(JSON.stringify(shared), /"windows":\[\{"start":"0x/);
    const json = JSON.parse(JSON.stringify(topology)) as { functions: Record<string, unknown>[] };
    assert.equal(json.functions.length, topology.functions.size);
    const [first] = topology.functions.values();
    assert.deepEqual(json.functions[0], JSON.parse(JSON.stringify(first)));
    assert.match(inspect(first), /^PciFunction \{/);
  });

  it('is an error’s name, message, code and arguments', () => {
    const { ioas, memory, heap } = fixture.objects;
    const caught = (call: () => unknown): Error => {
      try {
        call();
      } catch (error) {
        return error as Error;
      }
      return assert.fail('there was no error');
    };
    const refused = caught(() => ioas.mapMemorySync(memory, { iova: 1n }));
    assert.ok(refused instanceof KernelError);
    const { name, message, code, errno, syscall, ioctl, args, hint } = refused;
    assert.deepEqual(JSON.parse(JSON.stringify(refused)), {
      ...{ name, message, code, errno, syscall, ioctl },
      args: { iova: '0x1', offset: '0x0', length: `0x${BigInt(memory.size).toString(16)}` },
      ...(hint === undefined ? {} : { hint }),
    });
    assert.equal(args['iova'], 1n);
    assert.match(inspect(refused), /^KernelError: EINVAL: [^]*\n {4}at [^]*args: \{ iova: 0x1n, /);
    heap.close();
    const others = [
      caught(() => heap.allocSync(1)),
      caught(() => DmaMemory.alloc(-1)),
      caught(() => DmaMemory.alloc(2n ** 70n)),
      caught(() => Iommufd.fromFd(5, { kernel: 5 as unknown as FakeKernel })),
    ];
    for (const error of others) {
      const { code: own } = error as Error & { code?: string };
      assert.deepEqual(JSON.parse(JSON.stringify(error)), { code: own, name: error.name, message: error.message });
    }
  });

  it('is what methods return, too: plain data with bigints', async () => {
    const refused = new Set<string>();
    const seen = new Set<string>();
    // Not what ends, waits, or changes other objects.
    const left = /close|dispose|abandon|destroy|listen|receive|accept|idle|signaled|reset|resume|save|LowPower/i;
    for (const member of surface.members) {
      const { id, owner, ofInstance, kind } = member;
      if (kind === 'internal' || left.test(id) || id.startsWith('set ')) continue;
      const receiver = ofInstance ? objects().get(owner ?? '') : surface.classes.find(({ name }) => name === owner);
      try {
        const args = validCalls[id]?.(fixture.objects, new Random(1)) ?? [];
        const result = await Promise.race([member.call(receiver, args), setTimeout(1000)]);
        if (typeof result !== 'object' || result === null || isClosable(result)) continue;
        seen.add(id);
        JSON.stringify(result);
      } catch (error) {
        if (error instanceof TypeError && /BigInt|circular/.test(error.message)) refused.add(id);
      }
    }
    assert.deepEqual([...refused], []);
    assert.ok(seen.size > 40, [...seen].join(' '));
  });

  it('never throws on hostile objects', () => {
    for (const [name, object] of objects()) {
      const toJson = Reflect.get(object, 'toJSON') as (this: unknown) => unknown;
      const custom = Reflect.get(object, inspect.custom) as (this: unknown, ...args: unknown[]) => unknown;
      const throwing = () => {
        throw new Error('hostile');
      };
      const hostile = new Proxy({}, { get: throwing, ownKeys: throwing, getPrototypeOf: throwing });
      const heir = Object.create(object) as object;
      for (const receiver of [undefined, null, 5, {}, hostile, heir, Object.create(Reflect.getPrototypeOf(object))]) {
        JSON.stringify(Reflect.apply(toJson, receiver, []));
        Reflect.apply(custom, receiver, [2, { depth: 2, stylize: String }, inspect]);
      }
      for (const key of Object.keys(object)) {
        const descriptor = Reflect.getOwnPropertyDescriptor(object, key);
        if (descriptor?.configurable !== true) continue;
        Object.defineProperty(object, key, { configurable: true, enumerable: true, get: throwing });
        JSON.stringify(object);
        inspect(object);
        Object.defineProperty(object, key, { configurable: true, enumerable: true, value: hostile });
        if (name !== 'KernelError') inspect(object);
        Object.defineProperty(object, key, descriptor);
      }
    }
  });
});

describe('a constructor that is not public', () => {
  const isOpen = ({ name }: Class) => open.includes(name);

  it('throws at once, and names the function to use', async () => {
    const test = new FakeKernel();
    const made = new Fixture(test, []);
    for (const { value } of [...made.samples]) surface.learn(value);
    const known = surface.members.map(({ id }) => id.replace(/\(\)$/, ''));
    for (const type of surface.classes.filter((one) => !isOpen(one))) {
      const construct = type as unknown as new (...args: unknown[]) => object;
      class Derived extends construct {}
      for (const call of [() => new construct(), () => new construct({}, {}, []), () => new Derived()]) {
        assert.throws(call, (error: TypeError & { code: string }) => {
          assert.equal(error.code, 'ERR_ILLEGAL_CONSTRUCTOR', `${type.name}: ${error.stack ?? ''}`);
          assert.ok(error instanceof TypeError);
          assert.ok(error.message.startsWith(`${type.name} has no public constructor: `), error.message);
          const names = [...error.message.matchAll(/\b([A-Z]\w+)([.#])(\w+)/g)];
          if (!['KernelError'].includes(type.name)) assert.ok(names.length > 0, error.message);
          for (const [whole, owner, , member] of names) {
            const property = made.samples.some(
              ({ value }) => classOf(value) === owner && Object.hasOwn(value, member!),
            );
            assert.ok(known.includes(whole) || property || whole === 'Kernel.system', `${type.name}: ${whole}`);
          }
          return true;
        });
      }
    }
    assert.ok(open.every((name) => surface.classes.some((type) => type.name === name)));
    made.close();
    await made.objects.iommufd[Symbol.asyncDispose]().catch(() => undefined);
    test.close();
  });
});
