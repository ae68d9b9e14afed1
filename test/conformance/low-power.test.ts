// Low power with an eventfd that the kernel signals when the device wakes up.
import assert from 'node:assert/strict';
import { VfioDevice, type IoasMapping } from '../../lib';
import { untilAsleep } from './asleep';
import { conforms, observe, refuses } from './record';
import { addresses, cmb, page, useRig } from './rig';

describe('low power with a wake-up', () => {
  const rig = useRig('ssd', 'engine');
  let device: VfioDevice;
  let peer: IoasMapping;
  beforeEach(() => {
    device = rig.device('ssd');
    peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page));
  });
  afterEach(() => {
    if (!device.closed) device.exitLowPowerSync();
  });

  conforms('an access wakes the device, which ends it', async () => {
    const wakeUp = await device.enterLowPowerWithWakeUp();
    assert.equal(observe(peer.state), 'revoked');
    assert.equal(observe(wakeUp.over), false);
    await untilAsleep(device);
    observe(device.config.read32(0));
    assert.equal(observe(await wakeUp.woken), true);
    assert.equal(observe(wakeUp.over), true);
    assert.equal(observe(peer.state), 'revoked');
    peer.remap();
    assert.equal(observe(peer.state), 'live');
  });

  conforms('the same, entered waiting and woken by an ioctl', async () => {
    const wakeUp = device.enterLowPowerWithWakeUpSync();
    await untilAsleep(device);
    observe(device.info().pci);
    assert.equal(observe(await wakeUp.woken), true);
    peer.remap();
    assert.equal(observe(peer.state), 'live');
  });

  conforms('another object on the device wakes it, too', async () => {
    using other = await VfioDevice.open(device.fd);
    const wakeUp = await device.enterLowPowerWithWakeUp();
    await untilAsleep(device);
    observe(other.irqInfo(0));
    assert.equal(observe(await wakeUp.woken), true);
  });

  conforms('mapped registers do not wake it: they are out of reach', async () => {
    const registers = rig.keep(device.region(0).map());
    const wakeUp = await device.enterLowPowerWithWakeUp();
    await untilAsleep(device);
    await refuses('ERR_MEMORY_DISABLED', () => registers.read32(8));
    assert.equal(observe(wakeUp.over), false);
    await device.exitLowPower();
    assert.equal(observe(await wakeUp.woken), false);
    assert.equal(observe(registers.read32(8)), 0x10400);
  });

  conforms('ended by hand, it was no wake-up', async () => {
    for (const waiting of [false, true]) {
      const wakeUp = await device.enterLowPowerWithWakeUp();
      await untilAsleep(device);
      if (waiting) device.exitLowPowerSync();
      else await device.exitLowPower();
      assert.equal(observe(await wakeUp.woken), false);
      peer.remap();
      assert.equal(observe(peer.state), 'live');
    }
  });

  conforms('entered anew, the first one is over, and the new one is woken', async () => {
    const first = await device.enterLowPowerWithWakeUp();
    await untilAsleep(device);
    const second = await device.enterLowPowerWithWakeUp();
    assert.equal(observe(await first.woken), false);
    assert.equal(observe(second.over), false);
    await untilAsleep(device);
    observe(device.info().pci);
    assert.equal(observe(await second.woken), true);
  });

  conforms('entered anew without a wake-up, there is none', async () => {
    const wakeUp = await device.enterLowPowerWithWakeUp();
    await untilAsleep(device);
    await device.enterLowPower();
    assert.equal(observe(await wakeUp.woken), false);
    observe(device.info().pci);
    await refuses('EINVAL', () => device.enterLowPower());
  });

  conforms('in plain low power already: EINVAL', async () => {
    await device.enterLowPower();
    await refuses('EINVAL', () => device.enterLowPowerWithWakeUp());
    await refuses('EINVAL', () => device.enterLowPowerWithWakeUpSync());
    await device.exitLowPower();
    peer.remap();
    assert.equal(observe(peer.state), 'live');
  });

  conforms('woken, it can be entered again', async () => {
    for (let i = 0; i < 3; i += 1) {
      const wakeUp = await device.enterLowPowerWithWakeUp();
      await untilAsleep(device);
      observe(device.config.read16(0));
      assert.equal(observe(await wakeUp.woken), true);
    }
  });

  conforms('closing the device ends it', async () => {
    using other = await VfioDevice.open(addresses.ports, { iommufd: rig.iommufd });
    const wakeUp = await other.enterLowPowerWithWakeUp();
    other.close();
    assert.equal(observe(await wakeUp.woken), false);
    using again = await VfioDevice.open(addresses.ports, { iommufd: rig.iommufd });
    const second = await again.enterLowPowerWithWakeUp();
    await again[Symbol.asyncDispose]();
    assert.equal(observe(await second.woken), false);
  });

  conforms('unbound: EINVAL', async () => {
    using other = await VfioDevice.open(addresses.ports);
    await refuses('EINVAL', () => other.enterLowPowerWithWakeUp());
    await refuses('EINVAL', () => other.enterLowPowerWithWakeUpSync());
  });
});
