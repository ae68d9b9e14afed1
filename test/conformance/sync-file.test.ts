// Sync files and their fences, which a sw_sync timeline creates.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { DmaMemory, SyncFile } from '../../lib';
import { FenceTimeline } from '../../lib/fake';
import { conforms, endsWith, isPending, observe, refuses } from './record';
import { useRig } from './rig';

/** A sync file's information without fields that vary: context numbers and timestamps. */
function plain(file: SyncFile) {
  const { name, fences, ...rest } = file.info();
  return {
    ...rest,
    name: name.replace(/\d+-(\d+)$/, '*-$1'),
    fences: fences.map(({ timestamp, ...fence }) => ({ ...fence, stamped: timestamp !== undefined })),
  };
}

describe('fences', () => {
  const rig = useRig();
  const timeline = () => rig.keep(FenceTimeline.open());

  describe('a sync file', () => {
    conforms('of a fence that is pending tells whose it is', () => {
      const fence = rig.keep(timeline().createFence(1));
      assert.equal(observe(plain(fence)).state, 'pending');
      assert.equal(observe(fence.state), 'pending');
    });

    conforms('of a fence that is signaled tells when, and has forgotten whose it was', () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(1));
      const before = process.hrtime.bigint();
      source.advance();
      const after = process.hrtime.bigint();
      assert.equal(observe(plain(fence)).state, 'signaled');
      const { timestamp } = fence.info().fences[0]!;
      assert(timestamp !== undefined && timestamp >= before && timestamp <= after, 'the clock is another');
    });

    conforms('of a timeline that was closed has failed with ENOENT', async () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(5));
      source.close();
      assert.equal(observe(plain(fence)).error, 'ENOENT');
      await fence.signaled();
    });

    conforms('a fence that is not ahead of its timeline is signaled from the start', () => {
      const source = timeline();
      source.advance(10);
      const states = [9, 10, 11].map((value) => rig.keep(source.createFence(value)).state);
      assert.deepEqual(observe(states), ['signaled', 'signaled', 'pending']);
    });

    conforms('advancing signals the fences up to there, and no others', () => {
      const source = timeline();
      const fences = [1, 2, 3, 4].map((value) => rig.keep(source.createFence(value)));
      const seen = [0, 1, 2, 1].map((count) => {
        source.advance(count);
        return fences.map(({ state }) => state);
      });
      assert.equal(
        observe(seen)
          .at(-1)
          ?.every((state) => state === 'signaled'),
        true,
      );
    });

    conforms('the counter wraps, and what is half way round is ahead', () => {
      const source = timeline();
      source.advance(0xffff_fff0);
      const fences = [0xffff_ffff, 4, 0x7fff_0000].map((value) => rig.keep(source.createFence(value)));
      observe(fences.map(({ state }) => state));
      source.advance(0x20);
      assert.deepEqual(observe(fences.map(({ state }) => state)), ['signaled', 'signaled', 'pending']);
    });

    conforms('values and counts that do not fit never reach the kernel', async () => {
      const source = timeline();
      for (const wrong of [-1, 2 ** 32, 0.5, NaN]) {
        await refuses('ERR_OUT_OF_RANGE', () => source.createFence(wrong));
        await refuses('ERR_OUT_OF_RANGE', () => source.advance(wrong));
      }
      await refuses('ERR_INVALID_ARG_TYPE', () => source.createFence(1n as unknown as number));
    });

    conforms('of a duplicate is the same', () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(1));
      const copy = rig.keep(SyncFile.fromFd(fence.fd));
      assert.notEqual(copy.fd, fence.fd);
      fence.close();
      assert.equal(observe(copy.state), 'pending');
      source.advance();
      assert.equal(observe(copy.state), 'signaled');
    });

    conforms('an fd of something else is none', async () => {
      const source = rig.keep(DmaMemory.alloc(4096));
      await refuses('ERR_NOT_SYNC_FILE', () => SyncFile.fromFd(source.fd));
      await refuses('ERR_NOT_SYNC_FILE', () => SyncFile.fromFd(rig.iommufd.fd));
      await refuses('ERR_NOT_SYNC_FILE', () => SyncFile.fromFd(rig.keep(source.exportDmaBuf()).fd));
      const file = openSync('/dev/null', 'r');
      try {
        await refuses('ERR_NOT_SYNC_FILE', () => SyncFile.fromFd(file));
      } finally {
        closeSync(file);
      }
      await refuses('EBADF', () => SyncFile.fromFd(0x7fff_0000));
    });

    conforms('closed: ERR_CLOSED', async () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(1));
      const other = rig.keep(source.createFence(2));
      fence.close();
      fence.close();
      assert.equal(observe(fence.closed), true);
      await refuses('ERR_CLOSED', () => fence.fd);
      await refuses('ERR_CLOSED', () => fence.info());
      await refuses('ERR_CLOSED', () => fence.signaled());
      await refuses('ERR_CLOSED', () => fence.merge(other));
      await refuses('ERR_CLOSED', () => other.merge(fence));
      await refuses('ERR_CLOSED', () => fence.setDeadline(1));
      source.close();
      source.close();
      await refuses('ERR_CLOSED', () => source.createFence(1));
      await refuses('ERR_CLOSED', () => source.advance());
      await refuses('ERR_CLOSED', () => source.deadline(other));
    });

    conforms('of what is no sync file: TypeError', async () => {
      const fence = rig.keep(timeline().createFence(1));
      await refuses('ERR_INVALID_ARG_TYPE', () => fence.merge({} as never));
      await refuses('ERR_INVALID_ARG_TYPE', () => SyncFile.fromFd('1' as unknown as number));
      await refuses('ERR_INVALID_ARG_TYPE', () => timeline().deadline(7 as unknown as SyncFile));
      await refuses('ERR_INVALID_ARG_TYPE', () => fence.signaled({ signal: 7 as unknown as AbortSignal }));
    });
  });

  describe('waiting for a sync file', () => {
    conforms('ends when its fence is signaled', async () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(2));
      const waiting = fence.signaled();
      source.advance();
      assert.equal(observe(await isPending(waiting)), true);
      source.advance();
      await waiting;
      assert.equal(observe(fence.state), 'signaled');
    });

    conforms('ends at once when it is signaled', async () => {
      await rig.keep(timeline().createFence(0)).signaled();
      observe('it ended');
    });

    conforms('many can wait, for one and for several', async () => {
      const source = timeline();
      const fences = [1, 2, 3].map((value) => rig.keep(source.createFence(value)));
      const order: number[] = [];
      const all = fences.flatMap((fence, i) => [1, 2].map(() => fence.signaled().then(() => order.push(i))));
      for (let i = 0; i < 3; i += 1) {
        source.advance();
        await fences[i]!.signaled();
        await turn();
      }
      await Promise.all(all);
      assert.deepEqual(observe(order), [0, 0, 1, 1, 2, 2]);
    });

    conforms('an abort ends the wait, with its reason', async () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(1));
      const controller = new AbortController();
      const waiting = fence.signaled({ signal: controller.signal });
      controller.abort();
      await endsWith({ name: 'AbortError' }, () => waiting);
      await endsWith({ name: 'AbortError' }, () => fence.signaled({ signal: controller.signal }));
      await endsWith({ name: 'TimeoutError' }, () => fence.signaled({ signal: AbortSignal.timeout(5) }));
      source.advance();
      await fence.signaled();
      observe('and another wait works');
    });

    conforms('closing the file ends the wait: ERR_CLOSED', async () => {
      const fence = rig.keep(timeline().createFence(1));
      const waiting = fence.signaled();
      fence.close();
      await refuses('ERR_CLOSED', () => waiting);
    });

    conforms('closing the timeline ends it', async () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(1));
      const waiting = fence.signaled();
      source.close();
      await waiting;
      assert.equal(observe(fence.state), 'failed');
    });
  });

  describe('merged sync files', () => {
    conforms('of one timeline are its latest fence', async () => {
      const source = timeline();
      const [early, late] = [1, 2].map((value) => rig.keep(source.createFence(value))) as [SyncFile, SyncFile];
      for (const [one, other] of [
        [early, late],
        [late, early],
      ] as const) {
        const merged = rig.keep(one.merge(other, { name: 'both' }));
        assert.equal(observe(plain(merged)).fences.length, 1);
      }
      const merged = rig.keep(early.merge(late));
      source.advance();
      assert.equal(observe(merged.state), 'pending');
      source.advance();
      await merged.signaled();
      observe(plain(merged));
    });

    conforms('of two timelines wait for both', async () => {
      const sources = [timeline(), timeline()];
      const [one, other] = sources.map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile];
      const merged = rig.keep(one.merge(other, { name: 'a pair' }));
      observe(plain(merged));
      const waiting = merged.signaled();
      sources[1]!.advance();
      assert.equal(observe(await isPending(waiting)), true);
      observe(plain(merged));
      sources[0]!.advance();
      await waiting;
      assert.equal(observe(plain(merged)).state, 'signaled');
    });

    conforms('without a name get one of the kernel', () => {
      const [one, other] = [timeline(), timeline()].map((source) => rig.keep(source.createFence(3))) as [
        SyncFile,
        SyncFile,
      ];
      assert.match(observe(plain(rig.keep(one.merge(other))).name), /^dma_fence_array-unbound/);
      observe(plain(rig.keep(one.merge(one))).name);
    });

    conforms('a name is at most 31 bytes', async () => {
      const one = rig.keep(timeline().createFence(1));
      const name = 'thirty-one bytes are the most …'.slice(0, 29);
      observe(rig.keep(one.merge(one, { name })).info().name);
      observe(rig.keep(one.merge(one, { name: 'x'.repeat(31) })).info().name);
      await refuses('ERR_OUT_OF_RANGE', () => one.merge(one, { name: 'x'.repeat(32) }));
      await refuses('ERR_OUT_OF_RANGE', () => one.merge(one, { name: 'a\0b' }));
      await refuses('ERR_INVALID_ARG_TYPE', () => one.merge(one, { name: 7 as unknown as string }));
    });

    conforms('what is signaled is left out, and both stay as they are', () => {
      const [first, second] = [timeline(), timeline()];
      const [one, other] = [first, second].map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile];
      first.advance();
      const merged = rig.keep(one.merge(other, { name: 'rest' }));
      observe([merged, one, other].map(plain));
      assert.equal(merged.info().fences.length, 1);
      second.advance();
      const nothing = rig.keep(one.merge(other, { name: 'nothing left' }));
      assert.equal(observe(plain(nothing)).state, 'signaled');
      const { timestamp } = nothing.info().fences[0]!;
      assert.equal(timestamp, other.info().fences[0]!.timestamp);
    });

    conforms('of merged ones have every timeline once', () => {
      const sources = [timeline(), timeline(), timeline()];
      const [a, b, c] = sources.map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile, SyncFile];
      const later = rig.keep(sources[0]!.createFence(2));
      const merged = rig.keep(rig.keep(a.merge(b)).merge(rig.keep(c.merge(later))));
      assert.equal(observe(merged.info().fences.length), 3);
      for (const source of sources) source.advance();
      assert.deepEqual(observe(merged.info().fences.map(({ state }) => state)), ['pending', 'signaled', 'signaled']);
    });

    conforms('one that failed, and one that is pending: what comes first counts', async () => {
      const sources = [timeline(), timeline()];
      const [one, other] = sources.map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile];
      const merged = rig.keep(one.merge(other));
      sources[1]!.close();
      observe(plain(merged).fences);
      assert.equal(observe(merged.state), 'pending');
      const waiting = merged.signaled();
      assert.equal(observe(await isPending(waiting)), true);
      sources[0]!.advance();
      await waiting;
      assert.equal(observe(merged.info().error), 'ENOENT');
    });

    conforms('two that failed: the merged one has, too', async () => {
      const sources = [timeline(), timeline()];
      const [one, other] = sources.map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile];
      const merged = rig.keep(one.merge(other, { name: 'doomed' }));
      const waiting = merged.signaled();
      for (const source of sources) source.close();
      await waiting;
      assert.equal(observe(plain(merged)).state, 'failed');
    });
  });

  describe('a deadline', () => {
    conforms('is told to the fence’s driver, and the earliest counts', () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(1));
      assert.equal(observe(source.deadline(fence)), undefined);
      fence.setDeadline(2_000_000n);
      assert.equal(observe(source.deadline(fence)), 2_000_000n);
      fence.setDeadline(1_000_000);
      assert.equal(observe(source.deadline(fence)), 1_000_000n);
      fence.setDeadline(3_000_000n);
      assert.equal(observe(source.deadline(fence)), 1_000_000n);
    });

    conforms('of merged files is told to each', () => {
      const sources = [timeline(), timeline()];
      const [one, other] = sources.map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile];
      rig.keep(one.merge(other)).setDeadline(77n);
      assert.deepEqual(observe([sources[0]!.deadline(one), sources[1]!.deadline(other)]), [77n, 77n]);
      assert.equal(observe(sources[1]!.deadline(one)), 77n);
    });

    conforms('of a fence that is signaled comes too late', () => {
      const source = timeline();
      const fence = rig.keep(source.createFence(0));
      fence.setDeadline(1n);
      observe(source.deadline(fence));
    });

    conforms('of several fences, or of none of a timeline: EINVAL', async () => {
      const sources = [timeline(), timeline()];
      const [one, other] = sources.map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile];
      const merged = rig.keep(one.merge(other));
      await refuses('EINVAL', () => sources[0]!.deadline(merged));
      const idle = rig.keep(rig.keep(rig.keep(DmaMemory.alloc(4096)).exportDmaBuf()).exportSyncFile());
      await refuses('EINVAL', () => sources[0]!.deadline(idle));
    });

    conforms('that does not fit never reaches the kernel', async () => {
      const fence = rig.keep(timeline().createFence(1));
      for (const wrong of [-1n, 2n ** 63n, 0.5, 2 ** 60]) {
        await refuses('ERR_OUT_OF_RANGE', () => fence.setDeadline(wrong));
      }
    });
  });
});
