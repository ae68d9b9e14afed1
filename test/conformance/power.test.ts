// Power states that a program writes to config space, beside low power and resets.
import assert from 'node:assert/strict';
import type { VfioDevice } from '../../lib';
import { untilAsleep } from './asleep';
import { conforms, conformsBeside, observe, refuses } from './record';
import { addresses, cmb, page, useRig } from './rig';
import { describeRaw } from '../describe-raw';
import * as raw from '../raw';

const configAt = 7n << 40n;

/** The offset of the power management control register. */
function controlOf(device: VfioDevice): number {
  return (device.pciCapabilities().find(({ type }) => type === 'power-management')?.offset ?? 0) + 4;
}

describeRaw('a power state that is written', () => {
  const rig = useRig('ssd', 'engine');
  const device = () => rig.device('ssd');
  /** Writes to the register without the library, which follows such writes. */
  const write = (offset: number, value: number) =>
    observe(raw.call('pwrite', device().fd, raw.at(0, raw.words(value)), 2, configAt + BigInt(offset)));
  const setState = (state: number) => write(controlOf(device()), state);
  const state = () => observe(device().config.read16(controlOf(device())) & 3);
  const bar = () => observe(raw.call('pread', device().fd, raw.at(0), 4, BigInt(cmb.region) << 40n));
  /** Whether a dma-buf of the device can be mapped. */
  const maps = (fd: number) => {
    const bytes = raw.words(40, 3, rig.ioas.id, fd, 0n, page, 0n);
    const result = observe(raw.ioctl(rig.iommufd.fd, 0x3b8f, bytes));
    if (result === 0) rig.ioas.unmap(bytes.readBigUInt64LE(32), page);
    return result;
  };
  afterEach(async () => {
    if (!rig.devices.some(({ address }) => address === addresses.ssd)) return; // it was closed, or could not be opened
    await device().exitLowPower();
    setState(0);
    device().command.memory = true;
  });

  conformsBeside([], 'is ended by a reset', async () => {
    const { fd } = rig.exported('ssd', cmb.region, page);
    setState(3);
    assert.deepEqual([state(), bar(), maps(fd)], [3, 'EIO', 'ENODEV']);
    await device().reset();
    assert.deepEqual([state(), bar(), maps(fd)], [0, 4, 0]);
  });

  conformsBeside([], 'is ended by a function-level reset', () => {
    const { fd } = rig.exported('ssd', cmb.region, page);
    const express = device()
      .pciCapabilities()
      .find(({ type }) => type === 'express');
    setState(3);
    write((express?.offset ?? 0) + 8, 0x8000);
    assert.deepEqual([state(), bar(), maps(fd)], [0, 4, 0]);
  });

  conformsBeside([], 'that the device does not have is not taken', () => {
    for (const wanted of [1, 2]) {
      setState(wanted);
      assert.deepEqual([state(), bar()], [0, 4]);
    }
    setState(3);
    for (const wanted of [1, 2]) {
      setState(wanted);
      assert.deepEqual([state(), bar()], [3, 'EIO']);
    }
  });

  conformsBeside([], 'in low power is ended by the next access', async () => {
    const { fd } = rig.exported('ssd', cmb.region, page);
    await device().enterLowPower();
    assert.equal(maps(fd), 'ENODEV');
    setState(3);
    await untilAsleep(device());
    assert.deepEqual([maps(fd), state(), bar(), maps(fd)], ['ENODEV', 0, 4, 'ENODEV']);
  });

  conformsBeside([], 'as it is, or the command register, revives dma-bufs in low power', async () => {
    const { fd } = rig.exported('ssd', cmb.region, page);
    await device().enterLowPower();
    assert.equal(maps(fd), 'ENODEV');
    setState(0);
    assert.equal(maps(fd), 0);
    await device().exitLowPower();
    await device().enterLowPower();
    assert.equal(maps(fd), 'ENODEV');
    write(4, 0x0103);
    assert.equal(maps(fd), 0);
  });

  conforms('and remap() in low power', async () => {
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page));
    await device().enterLowPower();
    assert.equal(observe(peer.state), 'revoked');
    await refuses('ENODEV', () => peer.remap());
    device().command.memory = true;
    peer.remap();
    assert.equal(observe(peer.state), 'live');
  });

  conformsBeside([], 'makes the MSI-X table 0xff, as does disabled memory', () => {
    const table = () => {
      raw.memory().fill(0, 0, 16);
      const result = observe(raw.call('pread', device().fd, raw.at(0), 16, 0x2000n));
      return [result, observe(raw.memory().toString('hex', 0, 16))];
    };
    assert.deepEqual(table(), [16, 'ff'.repeat(16)]);
    setState(3);
    assert.deepEqual(table(), [16, 'ff'.repeat(16)]);
    setState(0);
    write(4, 0x0101);
    assert.deepEqual(table(), [16, 'ff'.repeat(16)]);
    const across = (offset: bigint, size: number) => observe(raw.call('pread', device().fd, raw.at(0), size, offset));
    assert.deepEqual(
      [across(0x1ff8n, 16), across(0x2408n, 16), across(0x2000n, 0x410), across(0x2000n, 0x411)],
      ['EIO', 'EIO', 0x410, 'EIO'],
    );
  });
});

describeRaw('an expansion ROM', () => {
  const rig = useRig('display');
  conformsBeside([], 'cannot be read with memory off: ENOMEM', () => {
    const device = rig.device('display');
    const read = () => observe(raw.call('pread', device.fd, raw.at(0), 4, 6n << 40n));
    assert.equal(read(), 4);
    device.command.memory = false;
    assert.equal(read(), 'ENOMEM');
  });
});
