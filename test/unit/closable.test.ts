// The rules of lib/lifetime/lifetime.ts, for every class of the package that has close(). The classes and members are
// found by reflection, so that later additions are tested.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Iommufd, PeerSpace, ReceivedFd, ShareClient, VfioDevice } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { typescript } from '../typescript';
import { classOf, Fixture, validCalls } from '../long/fuzz/fixture';
import { Random } from '../long/fuzz/random';
import { Surface, type Member } from '../long/fuzz/surface';

interface Closable {
  readonly closed?: boolean;
  readonly state?: unknown;
  close(): unknown;
  [Symbol.dispose]?(): void;
  [Symbol.asyncDispose]?(): Promise<void>;
}

/** Classes whose close() does something else. */
const others: Readonly<Record<string, string>> = {
  FakeKernel: 'removes its sysfs tree; what is open on it stays usable',
  NvmeController: 'closes its mapped registers',
  InterruptIndex: 'disables it, when its device is closed',
  WakeUp: 'ends with low power',
};

/** Members that still work on a closed object, as they need no kernel call. */
const remembered: Readonly<Record<string, readonly string[]>> = {
  DmaMapping: ['addressValid'],
  Eventfd: ['ref', 'unref'],
  FdChannel: ['Symbol(Symbol.asyncIterator)'], // its next() throws
  FdServer: ['Symbol(Symbol.asyncIterator)'], // ends at once
  Ioas: ['mappings', 'mappingCount', 'eachMapping'],
  IoasMapping: ['state', 'look'],
  PeerShare: ['iova', 'length', 'state'],
  PeerSpace: ['devices', 'shares', 'device', 'path'],
  ShareClient: ['find'],
  ShareServer: ['path', 'clients'],
  VfioContainer: ['mappings', 'iommu'],
  VfioDevice: ['through', 'group', 'container', 'iommufd', 'id', 'ioas', 'hwpt', 'config'],
  VfioGroup: ['container'],
};

/** Classes whose objects stay open when the kernel refuses to release them, and can be closed again. */
const canFail = [
  ...['DmaMapping', 'FaultQueue', 'HwQueue', 'Hwpt', 'Ioas', 'IoasMapping', 'Ioeventfd', 'PeerShare', 'Vdevice'],
  ...['VeventQueue', 'Viommu'],
];

let kernel: FakeKernel;
const surface = new Surface();
const classes = surface.classes.filter(({ name, prototype }) => 'close' in prototype && !(name in others));
const names = classes.map(({ name }) => name);

/** Members that work on every object: what people see of it. */
const views = ['toJSON', 'Symbol(nodejs.util.inspect.custom)'];

const endings = ['closed', 'close', 'destroy', 'abandon', ...['dispose', 'asyncDispose'].flatMap(symbolNames)];

/** Node 20 has its own symbols. */
function symbolNames(name: string): string[] {
  return [`Symbol(Symbol.${name})`, `Symbol(nodejs.${name})`];
}

function memberName({ id, owner = '' }: Member): string {
  return id
    .replace(/^[gs]et /, '')
    .slice(owner.length)
    .replace(/^#|^\[|\]$/g, '');
}

const isClosed = (object: Closable) => object.closed ?? object.state === 'closed';

/**
 * Calls `use` with an object of the named class, in a fixture with one object of each class. Asserts that nothing is
 * open afterwards.
 */
async function withObjects(name: string, use: (object: Closable, fixture: Fixture) => unknown): Promise<void> {
  const fixture = new Fixture(kernel, []);
  try {
    const { memory, shareServer } = fixture.objects;
    fixture.add('received', ReceivedFd.fromProcess(process.pid, memory.fd, { kernel }));
    fixture.add('shareClient', await ShareClient.connect(shareServer.path, { kernel }));
    const space = await PeerSpace.open({ devices: [kernel.addressOf('disk')], kernel });
    fixture.add('space', space);
    const found = fixture.samples.find(({ value }) => classOf(value) === name);
    assert.ok(found, `fuzz/fixture.ts makes no ${name}`);
    await use(found.value as Closable, fixture);
    await space.close();
  } finally {
    kernel.failCall(0, 'EIO');
    fixture.close();
    await fixture.objects.iommufd[Symbol.asyncDispose]();
  }
  assert.equal(kernel.openFiles, 0);
}

/**
 * Calls a close function. The fixture's mock device has no JavaScript object: an iommufd is closed, but reports that
 * its IOAS is in use (EBUSY).
 */
async function closed(close: () => unknown): Promise<void> {
  try {
    await close();
  } catch (error) {
    assert.equal((error as { code?: unknown }).code, 'EBUSY');
  }
}

async function codeOf(call: () => unknown): Promise<unknown> {
  try {
    const result = (await call()) as { next?: () => unknown } | undefined;
    return typeof result;
  } catch (error) {
    return (error as { code?: unknown }).code;
  }
}

describe('every class that can be closed', function () {
  this.timeout(60_000);
  beforeEach(() => {
    kernel = new FakeKernel();
  });
  afterEach(() => kernel.close());

  it('is found, and no class that is named here is gone', () => {
    assert.ok(names.length >= 30, names.join(' '));
    for (const name of [...Object.keys(remembered), ...canFail]) assert.ok(names.includes(name), name);
  });

  for (const { name, prototype } of classes) {
    describe(name, () => {
      for (const dispose of [Symbol.dispose, Symbol.asyncDispose] as const) {
        if (!(dispose in prototype)) continue;
        it(`is closed by ${dispose.description ?? ''}, and can be again`, () =>
          withObjects(name, async (object) => {
            await closed(async () => {
              const ending = object[dispose]?.();
              if (ending && name !== 'PeerSpace') assert.equal(isClosed(object), true, 'from the start on');
              await ending;
            });
            await object[dispose]?.();
            await object.close();
          }));
      }

      it('can be closed twice; every member throws ERR_CLOSED, but for what it remembers', () =>
        withObjects(name, async (object, fixture) => {
          surface.learn(object);
          const random = new Random(1);
          const { host, iommufd, engine } = fixture.objects;
          const nested = [
            { iommufd, id: engine.id },
            { type: 'vtd-s1', pageTable: 0x1000n, addressWidth: 48 },
          ];
          const given: Record<string, unknown[]> = {
            ...{ 'Ioas#copy': [host], 'Ioas#copySync': [host] },
            ...{ 'Viommu#allocNested': nested, 'Viommu#allocNestedSync': nested },
          };
          const calls = surface.members
            .filter(({ owner, ofInstance, kind }) => owner === name && ofInstance && kind !== 'internal')
            .filter((member) => ![...endings, ...views].includes(memberName(member)))
            .map((member) => ({
              member,
              args: given[member.id] ?? validCalls[member.id]?.(fixture.objects, random) ?? [],
            }));
          await closed(() => object.close());
          await object.close();
          if (name !== 'PeerShare') assert.equal(isClosed(object), true);
          const silent = new Set<string>();
          for (const { member, args } of calls) {
            const code = await codeOf(() => member.call(object, args));
            if (code !== 'ERR_CLOSED') silent.add(memberName(member));
          }
          assert.deepEqual([...silent].sort(), [...(remembered[name] ?? [])].sort());
        }));

      // A server and its client wait for each other's messages, and these waits get an error.
      if (!['ShareClient', 'ShareServer'].includes(name)) {
        it('is closed without making an error that nobody gets', () =>
          withObjects(name, async (object) => {
            const { Error: original } = globalThis;
            const made: unknown[] = [];
            const counting: typeof original = new Proxy(original, {
              construct(target, args: [string?], newTarget) {
                made.push(args[0]);
                return Reflect.construct(target, args, newTarget === counting ? target : newTarget) as object;
              },
            });
            globalThis.Error = counting;
            let code: unknown;
            try {
              code = await codeOf(() => object.close());
            } finally {
              globalThis.Error = original;
            }
            if (code === 'undefined') assert.deepEqual(made, []);
          }));
      }

      it('is closed, or stays open and can be closed again, when the kernel refuses', () =>
        withObjects(name, async (object) => {
          kernel.failCall(1, 'EIO');
          const code = await codeOf(() => object.close());
          const [failed, stays] = [kernel.failedCall !== undefined, !isClosed(object)];
          kernel.failCall(0, 'EIO');
          if (!failed) assert.notEqual(code, 'EIO');
          if (name !== 'PeerShare') assert.equal(stays, failed && canFail.includes(name));
          await closed(() => object.close());
          if (name !== 'PeerShare') assert.equal(isClosed(object), true);
        }));

      // Excluded: a mapping of a BAR in a container stays open, as it must be unmapped before its device is closed.
      if (!(Symbol.asyncDispose in prototype) || name === 'DmaMapping') return;
      it('is closed on a pool thread also when the kernel refuses, and tells that once', () =>
        withObjects(name, async (object) => {
          kernel.failCall(1, 'EIO');
          const code = await codeOf(() => object[Symbol.asyncDispose]?.());
          const failed = kernel.failedCall !== undefined;
          kernel.failCall(0, 'EIO');
          // An iommufd also has the mock device's error. A device reports none, as the kernel disables its interrupts.
          const told = name === 'Iommufd' ? ['EIO', 'EBUSY'] : name === 'VfioDevice' ? ['undefined'] : ['EIO'];
          if (failed) assert.ok(told.includes(String(code)), String(code));
          assert.equal(isClosed(object), true);
          await object[Symbol.asyncDispose]?.();
        }));
    });
  }

  it('a device that cannot begin to close stays open, and can be closed again', async () => {
    using iommufd = Iommufd.open({ kernel });
    const device = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
    // The ioeventfd must be removed in the kernel before the device is closed.
    const ring = device.region(2).ioeventfd({ offset: 0x4000, width: 4, value: 1 });
    kernel.failCall(1, 'EIO');
    assert.equal(await codeOf(() => device[Symbol.asyncDispose]()), 'EIO');
    assert.deepEqual([device.closed, ring.closed], [false, false]);
    await device[Symbol.asyncDispose]();
    assert.deepEqual([device.closed, ring.closed], [true, true]);
  });

  it('is named in a warning when it is lost, unless its parent keeps it', () => {
    const args = ['--expose-gc', ...typescript, '--no-warnings', join(__dirname, 'lost/all.ts')];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      encoding: 'utf8',
      env: { ...process.env, NODE_DEBUG: 'vfio-dmabuf', VFIO_DMABUF_KERNEL: 'fake' },
    });
    assert.equal(status, 0, stderr);
    const kept = ['DmaMapping', 'IoasMapping', 'PeerShare'];
    const waiting = ['FdServer', 'ShareServer', 'ShareClient', 'PeerSpace', 'ReceivedFd'];
    const expected = names.filter((name) => ![...kept, ...waiting].includes(name));
    assert.deepEqual(JSON.parse(stdout), expected.sort());
  });
});
