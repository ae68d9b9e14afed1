// Failures inside the real kernel: IOMMUFD's fault injection (CONFIG_IOMMUFD_TEST, Documentation/fault-injection) makes
// the first, second, … allocation or check of a call fail, until the call succeeds. The test repeats this for each
// call.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { DmaMemory, Iommufd, KernelError, VfioDevice } from '../../lib';
import { openFds } from './fds';
import { conformsOnlyOn } from './record';
import { addresses, MiB } from './rig';

const injection = '/sys/kernel/debug/fail_iommufd';
// The fault injection of this thread only: calls on pool threads do not fail.
const failNth = `/proc/self/task/${String(process.pid)}/fail-nth`;

/** Runs `call` with its n-th check failing. Returns false if it has fewer checks. */
function failing(n: number, call: () => void): boolean {
  writeFileSync(failNth, String(n));
  try {
    call();
  } catch (error) {
    assert(error instanceof KernelError, String(error));
    assert.match(error.code, /^E[A-Z0-9]+$/);
    assert(error.hint !== undefined, `${error.message}: has no hint`);
  }
  const left = Number(readFileSync(failNth, 'utf8'));
  return left === 0;
}

/** Creates the objects that a scenario uses and closes at its end. */
function build() {
  const iommufd = Iommufd.open();
  const [ioas, other] = [iommufd.allocIoas(), iommufd.allocIoas()];
  const ssd = VfioDevice.openSync(addresses.ssd, { iommufd });
  const engine = VfioDevice.openSync(addresses.engine, { iommufd });
  const memory = DmaMemory.alloc(MiB);
  const buffer = ssd.exportDmaBuf({ region: 2, offset: 0n, length: MiB });
  engine.attachSync(ioas);
  const host = other.mapMemorySync(memory);
  const peer = ioas.mapDmaBuf(buffer);
  const close = () => {
    iommufd.close();
    memory.close();
    buffer.close();
  };
  return { iommufd, ioas, other, ssd, engine, memory, buffer, host, peer, close };
}

type World = ReturnType<typeof build>;

const scenarios: Record<string, (world: World) => void> = {
  'attach, with host memory to pin': ({ ssd, other }) => ssd.attachSync(other),
  'attach elsewhere': ({ engine, other }) => engine.attachSync(other),
  mapMemory: ({ ioas, memory }) => ioas.mapMemorySync(memory),
  mapFile: ({ ioas, memory }) => ioas.mapFileSync(memory.fd, { length: memory.size }),
  mapDmaBuf: ({ ioas, buffer }) => ioas.mapDmaBuf(buffer),
  copy: ({ ioas, host }) => ioas.copySync(host),
  'copy of a dma-buf': ({ ioas, peer }) => ioas.copySync(peer),
  remap: ({ peer }) => peer.remap(),
  unmap: ({ ioas }) => ioas.unmap(),
  iovaRanges: ({ ioas }) => ioas.iovaRanges(),
};

describe('IOMMUFD failing inside', () => {
  before(() => {
    if (existsSync(injection)) writeFileSync(`${injection}/verbose`, '0');
  });

  for (const [title, call] of Object.entries(scenarios)) {
    conformsOnlyOn('system', 'the fake has no insides; npm run test:failures fails its calls', title, () => {
      assert(existsSync(injection), 'the kernel has no fail_iommufd');
      const fds = openFds();
      let failures = 0;
      for (let n = 1; ; n += 1) {
        const world = build();
        let failed: boolean;
        try {
          failed = failing(n, () => call(world));
        } finally {
          writeFileSync(failNth, '0');
          world.close();
        }
        assert(openFds() <= fds, `${String(openFds() - fds)} fds are open`);
        if (!failed) break;
        failures += 1;
      }
      console.log(`      ${title}: ${String(failures)} failures injected`);
    });
  }
});
