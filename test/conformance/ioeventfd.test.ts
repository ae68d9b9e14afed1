// ioeventfds: the kernel writes to a register when an eventfd is signaled.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { Eventfd, VfioDevice } from '../../lib';
import { openFiles } from '../needs';
import { conforms, observe, refuses, unlessFailing } from './record';
import { cmb, useRig } from './rig';

describe('an ioeventfd', () => {
  const rig = useRig('engine', 'ssd', 'display', 'ports');
  const bar0 = () => rig.device('engine').region(0);
  const memory = () => rig.device('ssd').region(cmb.region);

  conforms('writes when it is signalled', () => {
    bar0().write32(0x04, 0);
    const ring = rig.keep(bar0().ioeventfd({ offset: 0x04, width: 4, value: 0x1234_5678 }));
    observe(bar0().read32(0x04));
    ring.eventfd.signal();
    assert.equal(observe(bar0().read32(0x04)), 0xedcb_a987);
    assert.equal(observe(ring.eventfd.take()), 0n);
  });

  conforms('writes again each time', () => {
    const [a, b] = [0xaaaa_aaaan, 0x5555_5555n].map((value) =>
      rig.keep(bar0().ioeventfd({ offset: 0x80n, width: 8, value })),
    );
    for (let i = 0; i < 3; i += 1) {
      a?.eventfd.signal();
      observe(bar0().read64(0x80));
      b?.eventfd.signal(5n);
      observe(bar0().read64(0x80));
    }
  });

  conforms('writes 1, 2, 4 or 8 bytes, anywhere', () => {
    memory().write(0, new Uint8Array(64));
    for (const [offset, width] of [
      [0, 1],
      [2, 2],
      [4, 4],
      [8, 8],
      [17, 4],
    ] as const) {
      const value = 0x8877_6655_4433_2211n & ((1n << BigInt(8 * width)) - 1n);
      rig.keep(memory().ioeventfd({ offset, width, value })).eventfd.signal();
    }
    const bytes = Buffer.alloc(32);
    memory().read(0, bytes);
    observe(bytes.toString('hex'));
  });

  conforms('several writes on one signal', () => {
    memory().write(0, new Uint8Array(16));
    const eventfd = rig.keep(Eventfd.create());
    for (const offset of [0, 4, 8]) rig.keep(memory().ioeventfd({ offset, width: 4, value: offset + 1, eventfd }));
    eventfd.signal();
    assert.deepEqual(observe([0, 4, 8].map((offset) => memory().read32(offset))), [1, 5, 9]);
  });

  conforms('a count that is there already writes at once, and stays there until the next signal', () => {
    memory().write32(0, 0);
    const eventfd = rig.keep(Eventfd.create({ count: 2 }));
    rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 7, eventfd }));
    assert.equal(observe(memory().read32(0)), 7);
    memory().write32(0, 0);
    eventfd.signal();
    assert.equal(observe(memory().read32(0)), 7);
    assert.equal(observe(eventfd.take()), 0n);
  });

  conforms('closed, writes no more, and leaves the caller’s eventfd open', async () => {
    memory().write32(0, 0);
    const eventfd = rig.keep(Eventfd.create());
    const ring = memory().ioeventfd({ offset: 0, width: 4, value: 7, eventfd });
    ring.close();
    ring.close();
    eventfd.signal();
    await sleep(20);
    observe([memory().read32(0), eventfd.take(), ring.closed]);
    const own = memory().ioeventfd({ offset: 0, width: 4, value: 7 });
    own.close();
    await refuses('ERR_CLOSED', () => own.eventfd.signal());
  });

  conforms('the same write twice: EEXIST; a different one not', async () => {
    const first = rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 7 }));
    await refuses('EEXIST', () => memory().ioeventfd({ offset: 0, width: 4, value: 7 }));
    await refuses('EEXIST', () => memory().ioeventfd({ offset: 0, width: 4, value: 7, eventfd: first.eventfd }));
    rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 8 }));
    rig.keep(memory().ioeventfd({ offset: 0, width: 2, value: 7 }));
    rig.keep(memory().ioeventfd({ offset: 4, width: 4, value: 7 }));
    first.close();
    rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 7 }));
  });

  conforms('the same write is taken although the eventfd of the first is closed', async () => {
    using eventfd = Eventfd.create();
    rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 7, eventfd }));
    eventfd.close();
    await refuses('EEXIST', () => memory().ioeventfd({ offset: 0, width: 4, value: 7 }));
  });

  conforms('outside a BAR: EINVAL', async () => {
    const at = (role: 'engine' | 'ssd' | 'display', region: number, offset: number | bigint) => () =>
      rig.device(role).region(region).ioeventfd({ offset, width: 4, value: 0 });
    await refuses('EINVAL', at('engine', 0, 0x10_0000));
    await refuses('EINVAL', at('engine', 0, 0xf_fffd));
    await refuses('EINVAL', at('engine', 1, 0));
    await refuses('EINVAL', at('display', 6, 0));
    await refuses('EINVAL', at('engine', 7, 0x40));
    rig.keep(at('engine', 0, 0xf_fffc)());
  });

  conforms('in an MSI-X table: EINVAL; right before and after it not', async () => {
    const at = (offset: number) => () => rig.device('ssd').region(0).ioeventfd({ offset, width: 4, value: 0 });
    for (const offset of [0x1ffd, 0x2000, 0x240c, 0x240f]) await refuses('EINVAL', at(offset));
    for (const offset of [0x1ffc, 0x2410]) rig.keep(at(offset)());
  });

  conforms('to I/O ports', () => {
    const { device } = { device: rig.device('ports') };
    const ring = rig.keep(device.region(1).ioeventfd({ offset: 0x10, width: 1, value: 0 }));
    device.command.memory = false;
    ring.eventfd.signal();
    observe(ring.eventfd.take());
  });

  conforms('with memory space off, writes nothing, and the signal is gone', () => {
    memory().write32(0, 0);
    const ring = rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 7 }));
    rig.device('ssd').command.memory = false;
    ring.eventfd.signal();
    rig.device('ssd').command.memory = true;
    assert.deepEqual(observe([memory().read32(0), ring.eventfd.take()]), [0, 0n]);
    ring.eventfd.signal();
    assert.equal(observe(memory().read32(0)), 7);
  });

  conforms(
    'a thousand, and no more: ENOSPC',
    async () => {
      const runs: true[] = [];
      unlessFailing(() => runs.push(true));
      if (runs.length === 0) return; // failing each call in turn would take hours
      const eventfd = rig.keep(Eventfd.create());
      const rings = Array.from({ length: 1000 }, (_, value) =>
        rig.keep(memory().ioeventfd({ offset: 0, width: 4, value, eventfd })),
      );
      await refuses('ENOSPC', () => memory().ioeventfd({ offset: 0, width: 4, value: 1000, eventfd }));
      observe(rings.length);
    },
    [openFiles(2100)],
  );

  conforms('rings the device, which interrupts', async () => {
    const device = rig.device('engine');
    device.command.busMaster = true;
    device.interrupts.msi.enable();
    const ring = rig.keep(bar0().ioeventfd({ offset: 0x60, width: 4, value: 0x20 }));
    const counts = device.interrupts.msi.listen(0, { signal: AbortSignal.timeout(5000) });
    for (let i = 0; i < 3; i += 1) {
      ring.eventfd.signal();
      assert.deepEqual(observe(await counts.next()), { value: 1n, done: false });
    }
    observe(bar0().read32(0x24));
    bar0().write32(0x64, 0x20);
    await counts.return();
    device.interrupts.msi.disable();
  });

  conforms('an interrupt that writes: one eventfd for both', async () => {
    const { interrupts } = rig.device('ssd');
    memory().write32(0, 0);
    const eventfd = rig.keep(Eventfd.create());
    interrupts.msix.enable([eventfd]);
    rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 7, eventfd }));
    interrupts.msix.trigger();
    for (let i = 0; i < 100 && memory().read32(0) === 0; i += 1) await sleep(1);
    assert.equal(observe(memory().read32(0)), 7);
    interrupts.msix.disable();
  });

  conforms('arguments that are none are refused', async () => {
    const call = (opts: object) => () => memory().ioeventfd({ offset: 0, width: 4, value: 0, ...opts } as never);
    await refuses('ERR_OUT_OF_RANGE', call({ width: 3 }));
    await refuses('ERR_OUT_OF_RANGE', call({ value: 0x1_0000_0000n }));
    await refuses('ERR_OUT_OF_RANGE', call({ offset: -1 }));
    await refuses('ERR_OUT_OF_RANGE', call({ offset: 1n << 40n }));
    await refuses('ERR_INVALID_ARG_TYPE', call({ eventfd: 3 }));
    await refuses('ERR_INVALID_ARG_TYPE', call({ value: '0' }));
  });

  conforms('is closed with its device', async () => {
    using device = await VfioDevice.open(rig.device('ssd').fd);
    const ring = device.region(cmb.region).ioeventfd({ offset: 0, width: 4, value: 7 });
    device.close();
    observe([ring.closed, ring.eventfd.closed]);
    rig.keep(memory().ioeventfd({ offset: 0, width: 4, value: 7 }));
    await refuses('ERR_CLOSED', () => device.interrupts.msi.listen());
  });
});
