// Migration: a device's states and their transitions, the data that it saves and resumes, and moveTo().
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { VfioDevice, type MigrationData, type MigrationState, type Region } from '../../lib';
import { conforms, endsWith, observe, refuses, unlessFailing } from './record';
import { addresses, useRig } from './rig';

const states = ['stop', 'running', 'stop-copy', 'resuming', 'running-p2p', 'pre-copy', 'pre-copy-p2p'] as const;
const dualSize = 96;
const headerSize = 24;

/** Puts two bytes into each port's FIFO, and a value into its scratch register. */
function fill(device: VfioDevice, seed: number): void {
  for (const [i, port] of [device.region(0), device.region(1)].entries()) {
    port.write8(2, 7);
    port.write8(7, seed + i);
    port.write8(0, seed + 10 + i);
    port.write8(0, seed + 20 + i);
  }
}

const drain = (port: Region) => [port.read8(7), port.read8(5), port.read8(0), port.read8(0), port.read8(5)];

/** A promise that rejects with a stream's error, for `refuses`. */
const failure = (stream: NodeJS.ReadableStream | NodeJS.WritableStream) =>
  new Promise<never>((_, reject) => stream.once('error', reject));

/** Checks the hint. The library determines the cause with calls to the device, which may fail, too. */
function hints(error: Error, cause: RegExp): void {
  unlessFailing(() => assert.match(error.message, cause));
}

describe('migration', () => {
  const rig = useRig('serial', 'serialTwin', 'serialSingle', 'panel', 'engine');
  let source: VfioDevice;
  let target: VfioDevice;
  beforeEach(() => {
    source = rig.device('serial');
    target = rig.device('serialTwin');
  });
  // A device that is closed while it is resuming stays in that state, and the sample driver can only leave it by a
  // reset.
  const reset = () => {
    for (const device of rig.devices) device.resetSync();
  };
  beforeEach(reset); // a device that was closed at the end of a case was not reset
  afterEach(reset);

  /** Changes the state. Returns the object that transfers the state's data. */
  async function begin(device: VfioDevice, state: MigrationState): Promise<MigrationData> {
    const data = await device.migration.setState(state);
    assert(data, `nothing moves in ${state}`);
    return rig.keep(data);
  }

  async function saved(): Promise<Buffer> {
    const data = await begin(source, 'stop-copy');
    const bytes = await data.read();
    await source.migration.setState('running');
    return bytes;
  }

  conforms('capabilities and state', () => {
    assert.deepEqual(observe(source.migration.capabilities()).states, [...states]);
    assert.equal(observe(source.migration.state), 'running');
    observe(rig.device('serialSingle').migration.capabilities());
  });

  conforms('of a device that has none: ENOTTY', async () => {
    for (const role of ['panel', 'engine'] as const) {
      const { migration } = rig.device(role);
      await refuses('ENOTTY', () => migration.capabilities());
      await refuses('ENOTTY', () => migration.state);
      await refuses('ENOTTY', () => migration.setState('stop'));
      await refuses('ENOTTY', () => migration.setStateSync('stop'));
      await refuses('ENOTTY', () => migration.dataSize());
      await refuses('ENOTTY', () => migration.save());
      await refuses('ENOTTY', () => migration.resume());
      await refuses('ENOTTY', () => migration.moveTo(target));
      await refuses('EINVAL', () => migration.enableReinit());
    }
  });

  conforms('the size of what is saved', () => {
    assert.equal(observe(source.migration.dataSize()), 96n);
    assert.equal(observe(rig.device('serialSingle').migration.dataSize()), 60n);
    source.migration.setStateSync('stop');
    observe(source.migration.dataSize());
  });

  for (const from of states) {
    conforms(`from '${from}' to every state`, async () => {
      for (const to of states) {
        const data = source.migration.setStateSync(from);
        observe([from, data?.direction, source.migration.state]);
        if (from === 'resuming' && to !== from) {
          const error = await refuses('EINVAL', () => source.migration.setState(to));
          hints(error, /not whole/);
        } else if (from === 'stop-copy' && to.startsWith('pre-copy')) {
          const error = await refuses('EINVAL', () => source.migration.setStateSync(to));
          hints(error, /no way/);
        } else {
          const more = await source.migration.setState(to);
          observe([to, more?.direction]);
          assert.equal(source.migration.state, to);
          more?.close();
        }
        observe(source.migration.state);
        data?.close();
        source.resetSync();
        assert.equal(observe(source.migration.state), 'running');
      }
    });
  }

  conforms('no way leads to an error: EINVAL', async () => {
    const error = await refuses('EINVAL', () => source.migration.setState('error'));
    hints(error, /failure leads/);
    assert.equal(observe(source.migration.state), 'running');
  });

  conforms('a state that there is not', async () => {
    await refuses('ERR_OUT_OF_RANGE', () => source.migration.setState('paused' as 'stop'));
    await refuses('ERR_INVALID_ARG_TYPE', () => source.migration.setStateSync(1 as unknown as 'stop'));
  });

  conforms('saves the registers and what is in the FIFOs', async () => {
    fill(source, 0x30);
    const data = await begin(source, 'stop-copy');
    const bytes = await data.read();
    assert.equal(observe(bytes.length), dualSize);
    observe(bytes.subarray(0, headerSize).toString('hex'));
    // Only the written bytes of the ports; the rest may be older data.
    for (const port of [bytes.subarray(24, 60), bytes.subarray(60, 96)]) {
      observe([port[7], port.subarray(8, 10).toString('hex'), port.subarray(24, 28).toString('hex'), port[33]]);
    }
    assert.equal(observe(data.readSync().length), 0);
    assert.equal(observe((await data.read()).length), 0);
  });

  conforms('is read in parts', async () => {
    const data = await begin(source, 'stop-copy');
    const sizes = [];
    for (let part = data.readSync(40); part.length > 0; part = await data.read(40)) sizes.push(part.length);
    assert.deepEqual(observe(sizes), [40, 40, 16]);
  });

  conforms('saves while the device runs, and the rest when it has stopped', async () => {
    const data = await begin(source, 'pre-copy');
    assert.deepEqual(observe(data.precopyInfo()), { initialBytes: 24n, dirtyBytes: 0n, reinit: false });
    const early = await data.read(20);
    observe(data.precopyInfo());
    observe([early.length, data.readSync().length, data.readSync().length]);
    assert.equal(observe(data.precopyInfo().initialBytes), 0n);
    source.region(0).write8(7, 0x77);
    assert.equal(await source.migration.setState('pre-copy-p2p'), undefined);
    observe(data.precopyInfo());
    assert.equal(await source.migration.setState('stop-copy'), undefined);
    const late = await data.read();
    assert.equal(observe(late.length), dualSize - headerSize);
    assert.equal(observe(late[7]), 0x77);
    await refuses('EINVAL', () => data.precopyInfo());
  });

  conforms('can tell new initial bytes', async () => {
    source.migration.enableReinit();
    const data = await begin(source, 'pre-copy');
    observe(data.precopyInfo());
    await refuses('ENOTTY', async () => {
      source.resetSync();
      const resuming = await begin(source, 'resuming');
      resuming.precopyInfo();
    });
  });

  conforms('what the device has to save goes when it leaves the states that save', async () => {
    const data = await begin(source, 'stop-copy');
    await source.migration.setState('running');
    await refuses('ENODEV', () => data.read());
    await refuses('EINVAL', () => data.precopyInfo());
    await refuses('EBADF', () => data.write(new Uint8Array(1)));
  });

  conforms('a reset is the way out of every state', async () => {
    const data = await begin(source, 'pre-copy');
    await source.reset();
    assert.equal(observe(source.migration.state), 'running');
    await refuses('ENODEV', () => data.readSync());
    const resuming = await begin(source, 'resuming');
    source.resetSync();
    await refuses('ENODEV', () => resuming.write(new Uint8Array(8)));
    assert.equal(observe(source.migration.state), 'running');
    const again = await begin(source, 'pre-copy');
    await refuses('ENODEV', () => data.precopyInfo());
    observe(again.precopyInfo());
  });

  conforms('resumes what another has saved', async () => {
    fill(source, 0x40);
    const bytes = await saved();
    fill(target, 0x50);
    const data = await begin(target, 'resuming');
    assert.equal(observe(await data.write(bytes)), dualSize);
    await target.migration.setState('running');
    for (const index of [0, 1]) {
      assert.deepEqual(observe(drain(target.region(index))), drain(source.region(index)));
    }
    await refuses('ENODEV', () => data.writeSync(new Uint8Array(1)));
  });

  conforms('in parts, and not before they are all there', async () => {
    const bytes = await saved();
    const data = await begin(target, 'resuming');
    observe([data.writeSync(bytes.subarray(0, 10)), await data.write(bytes.subarray(10, 50))]);
    const error = await refuses('EINVAL', () => target.migration.setState('running'));
    hints(error, /not whole/);
    assert.equal(observe(target.migration.state), 'resuming');
    observe(await data.write(bytes.subarray(50)));
    await target.migration.setState('stop');
    assert.equal(observe(target.migration.state), 'stop');
  });

  conforms('refuses what no such device has saved', async () => {
    const bytes = await saved();
    const resuming = async (change: (copy: Buffer) => Buffer, device = target) => {
      device.resetSync();
      const data = await begin(device, 'resuming');
      return data.write(change(Buffer.from(bytes)));
    };
    for (const at of [0, 8, 12, 16, 20]) {
      await refuses('EFAULT', () => resuming((copy) => (copy.writeUInt8(copy.readUInt8(at) ^ 0x40, at), copy)));
    }
    await refuses('ENOMEM', () => resuming((copy) => Buffer.concat([copy, Buffer.alloc(1)])));
    await refuses('ENOMEM', () => resuming((copy) => copy, rig.device('serialSingle')));
    await refuses('EFAULT', () => resuming((copy) => copy.subarray(0, 60), rig.device('serialSingle')));
    await refuses('EBADF', async () => {
      target.resetSync();
      await (await begin(target, 'resuming')).read();
    });
  });

  conforms('goes on in its state when it is closed and opened again', async () => {
    source.close();
    const first = await VfioDevice.open(addresses.serial, { iommufd: rig.iommufd });
    rig.replace('serial', first);
    const data = await begin(first, 'stop-copy');
    first.close();
    assert.equal(data.closed, true);
    await refuses('ERR_CLOSED', () => data.read());
    await refuses('ERR_CLOSED', () => first.migration.state);
    const second = await VfioDevice.open(addresses.serial, { iommufd: rig.iommufd });
    rig.replace('serial', second);
    assert.equal(observe(second.migration.state), 'stop-copy');
  });

  conforms('as streams', async () => {
    fill(source, 0x60);
    await pipeline(await source.migration.save({ highWaterMark: 7 }), await target.migration.resume());
    await target.migration.setState('running');
    await source.migration.setState('stop');
    observe([source.migration.state, target.migration.state]);
    assert.deepEqual(observe(drain(target.region(1))), drain(source.region(1)));
  });

  conforms('a stream of a device that runs ends after it has stopped', async () => {
    const stream = await source.migration.save({ preCopy: true });
    let idle = 0;
    stream.on('idle', () => {
      idle += 1;
      if (idle === 1) void source.migration.setState('pre-copy-p2p');
      else void source.migration.setState('stop-copy');
    });
    assert.equal(observe((await buffer(stream)).length), dualSize);
    assert.equal(observe(idle), 2);
  });

  conforms('a stream fails when the device is reset or leaves its state', async () => {
    const first = await source.migration.save({ preCopy: true });
    const failed = failure(first);
    first.resume();
    await once(first, 'idle');
    await source.reset();
    await refuses('ENODEV', () => failed);
    const second = await source.migration.save({ preCopy: true });
    const again = failure(second);
    second.resume();
    await once(second, 'idle');
    source.migration.setStateSync('running');
    await refuses('ENODEV', () => again);
    const sink = await target.migration.resume();
    target.resetSync();
    const broken = failure(sink);
    sink.write(Buffer.alloc(8));
    await refuses('ENODEV', () => broken);
  });

  conforms('what is under way already: ERR_MIGRATION_BUSY', async () => {
    const stream = await source.migration.save();
    await refuses('ERR_MIGRATION_BUSY', () => source.migration.save());
    stream.destroy();
    await once(stream, 'close');
    await refuses('ERR_MIGRATION_BUSY', () => source.migration.save());
    await source.migration.setState('running');
    rig.keep(await begin(source, 'stop-copy'));
  });

  for (const preCopy of [false, true]) {
    conforms(`moves to another device${preCopy ? ', most of it while it runs' : ''}`, async () => {
      fill(source, 0x70);
      fill(target, 0x10);
      await source.migration.moveTo(target, { preCopy });
      observe([source.migration.state, target.migration.state]);
      for (const index of [0, 1]) {
        assert.deepEqual(observe(drain(target.region(index))), drain(source.region(index)));
      }
    });
  }

  conforms('moves to another device that is not started', async () => {
    await source.migration.moveTo(target, { start: false });
    assert.deepEqual(observe([source.migration.state, target.migration.state]), ['stop', 'stop']);
  });

  for (const [role, code, preCopy] of [
    ['serialSingle', 'ENOMEM', false],
    ['serialSingle', 'EFAULT', true],
    ['panel', 'ENOTTY', false],
  ] as const) {
    conforms(`what cannot move goes on where it was: ${code}`, async () => {
      fill(source, 0x20);
      await refuses(code, () => source.migration.moveTo(rig.device(role), { preCopy }));
      const { state } = source.migration;
      unlessFailing(() => assert.equal(observe(state), 'running'));
      if (role !== 'panel') observe(rig.device(role).migration.state);
      observe(drain(source.region(0)));
    });
  }

  conforms('moves to a device only', () =>
    refuses('ERR_INVALID_ARG_TYPE', () => source.migration.moveTo({} as unknown as VfioDevice)),
  );

  conforms('a move that is aborted before or meanwhile goes back', async () => {
    const seen = async (call: () => Promise<unknown>) => {
      await endsWith({ name: 'AbortError' }, call);
      const seen = observe([source.migration.state, target.migration.state]);
      // The return to the previous state can fail, too.
      unlessFailing(() => assert.deepEqual(seen, ['running', 'running']));
    };
    await seen(() => source.migration.moveTo(target, { signal: AbortSignal.abort() }));
    const controller = new AbortController();
    await seen(async () => {
      const moving = source.migration.moveTo(target, { preCopy: true, signal: controller.signal });
      controller.abort();
      await moving;
    });
  });
});
