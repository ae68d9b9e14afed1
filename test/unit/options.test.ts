// Unknown options: every function that takes an options object refuses them and names the known ones. The functions are
// found by reflection, so that later additions are tested.
import assert from 'node:assert/strict';
import { DmaBuf, PeerSpace, ShareServer, type HwptData, type InvalidateData } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { classOf, Fixture, validCalls } from '../long/fuzz/fixture';
import { Random } from '../long/fuzz/random';
import { exported, Surface, type Member } from '../long/fuzz/surface';

const surface = new Surface();
let kernel: FakeKernel;
let fixture: Fixture;

/** Valid calls where test/unit/fuzz/fixture.ts has none. */
const calls: Readonly<Record<string, () => unknown[]>> = {
  'Ioas#copy': () => [fixture.objects.host],
  'Ioas#copySync': () => [fixture.objects.host],
  'Viommu#allocNested': () => nested(),
  'Viommu#allocNestedSync': () => nested(),
  'Hwpt#allocNested': () => nested(),
  'Hwpt#allocNestedSync': () => nested(),
  'ReceivedFd.fromProcess': () => [process.pid, fixture.objects.memory.fd],
};

function nested(): unknown[] {
  const { iommufd, engine } = fixture.objects;
  return [
    { iommufd, id: engine.id },
    { type: 'vtd-s1', pageTable: 0x1000n, addressWidth: 48 },
  ];
}

/** The index of the parameter `opts`, by the source text; -1: there is none. */
function optionsIndex({ id, of }: Member): number {
  const text = String(of);
  const start = id.startsWith('new ') ? /\bconstructor\(([^)]*)\)/ : /^[^(]*\(([^)]*)\)/;
  const parameters = start.exec(text)?.[1] ?? '';
  return parameters.split(',').findIndex((parameter) => /^\s*opts\b/.test(parameter));
}

async function errorOf(call: () => unknown): Promise<Error & { code?: string }> {
  try {
    await call();
  } catch (error) {
    return error as Error;
  }
  return assert.fail('there was no error');
}

/** The members that take options, and the index of the options among the arguments. */
const takers = surface.members
  .filter(({ kind, id }) => kind !== 'internal' || id === 'new ShareServer')
  .map((member) => ({ member, at: optionsIndex(member) }))
  .filter(({ at }) => at >= 0);

function receiverOf({ owner, ofInstance }: Member): unknown {
  if (!ofInstance) return exported(owner);
  return fixture.samples.find(({ value }) => classOf(value) === owner)?.value;
}

function argumentsOf({ id }: Member): unknown[] {
  return calls[id]?.() ?? validCalls[id]?.(fixture.objects, new Random(1)) ?? [];
}

describe('unknown options', function () {
  this.timeout(60_000);

  beforeEach(async () => {
    kernel = new FakeKernel();
    fixture = new Fixture(kernel, []);
    const space = await PeerSpace.open({ devices: [kernel.addressOf('disk')], kernel });
    fixture.add('space', space);
    for (const { value } of [...fixture.samples]) for (const inner of surface.learn(value)) fixture.add('', inner);
  });
  afterEach(async () => {
    fixture.close();
    await fixture.objects.iommufd[Symbol.asyncDispose]().catch(() => undefined);
    kernel.close();
  });

  it('are an error of every function, which lists the known ones', async () => {
    assert.ok(takers.length > 60, takers.map(({ member }) => member.id).join(' '));
    for (const { member, at } of takers) {
      const args: unknown[] = Array.from({ length: at }, (_, i) => argumentsOf(member)[i]);
      const given = { ...(argumentsOf(member)[at] as object | undefined), nonsense: undefined };
      const error = await errorOf(() => member.call(receiverOf(member), [...args, given]));
      assert.equal(error.code, 'ERR_INVALID_ARG_VALUE', `${member.id}: ${error.stack ?? ''}`);
      assert.ok(error instanceof TypeError);
      assert.match(error.message, /has the unknown option "nonsense"\. Known: \w/, member.id);
      // Each known option is named as the nearest when its case is wrong or a letter is missing.
      for (const name of error.message.replace(/^.*Known: /, '').split(', ')) {
        for (const wrong of [name.toUpperCase(), name.slice(0, -1)]) {
          const similar = await errorOf(() => member.call(receiverOf(member), [...args, { [wrong]: undefined }]));
          assert.ok(similar.message.includes(`Did you mean "${name}"?`), `${member.id}: ${similar.message}`);
        }
      }
    }
  });

  it('are an error in objects within the arguments', async () => {
    const { ioas, ssd, engine, memory, iommufd, hwpt, viommu } = fixture.objects;
    const extra = { nonsense: 1 };
    const device = { iommufd, id: engine.id };
    const within: Readonly<Record<string, () => unknown>> = {
      'a memory range': () => DmaBuf.fromMemory([{ memory, ...extra }]),
      'allowed IOVAs': () => ioas.allowIovas([{ start: 0n, last: 4095n, ...extra }]),
      'data of a page table': () =>
        ioas.allocHwptSync(engine, { data: { type: 'arm-smmuv3', ste: [0n, 0n], ...extra } as HwptData }),
      'data of a virtual IOMMU': () => iommufd.allocViommu(device, hwpt, { type: 'arm-smmuv3', ...extra }),
      'an invalidation': () =>
        viommu.invalidate({ type: 'arm-smmuv3', commands: [], ...extra } as unknown as InvalidateData),
      'an entry of an invalidation': () =>
        hwpt.invalidate({ type: 'vtd-s1', entries: [{ address: 0n, pages: 1n, ...extra }] }),
      'a device of a space': () => PeerSpace.open({ devices: [{ address: ssd.address ?? '', ...extra }] }),
      'an offer': () => new ShareServer('@x', [{ name: 'a', dmaBuf: fixture.objects.cmb, ...extra }]),
    };
    for (const [what, call] of Object.entries(within)) {
      const error = await errorOf(call);
      assert.equal(error.code, 'ERR_INVALID_ARG_VALUE', `${what}: ${error.stack ?? ''}`);
      assert.match(error.message, /has the unknown option "nonsense"/, what);
    }
  });

  it('are found in inherited and class properties, not in what a program added to Object.prototype', () => {
    const { ioas, cmb } = fixture.objects;
    const map = (opts: object) => ioas.mapDmaBuf(cmb, opts).close();
    class Options {
      readonly access = 'r';
      readonly autoremap = true;
    }
    for (const opts of [{ autoremap: true }, Object.create({ autoremap: true }) as object, new Options()]) {
      assert.throws(() => map(opts), /unknown option "autoremap"\. Did you mean "autoRemap"\?/);
    }
    Object.defineProperty(Object.prototype, 'autoremap', { value: true, enumerable: true, configurable: true });
    try {
      map({});
      map({ access: 'r' });
      assert.throws(() => map({ autoremap: true }), /unknown option/);
    } finally {
      delete (Object.prototype as { autoremap?: boolean }).autoremap;
    }
  });

  it('are not the other properties of objects that the library itself returns', () => {
    const { ssd, nvme } = fixture.objects;
    const cmb = nvme.enableCmb();
    ssd.exportDmaBuf(cmb).close();
    ssd
      .region(cmb.region)
      .map({ ...cmb, length: 4096 })
      .close();
  });
});
