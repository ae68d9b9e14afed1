// PASIDs. No device of the machine does DMA with a PASID, so the cases only attach and detach page tables.
import assert from 'node:assert/strict';
import { Iommufd, VfioDevice } from '../../lib';
import { conforms, observe, refuses, unlessFailing } from './record';
import { addresses, useRig } from './rig';

describe('a PASID', () => {
  const rig = useRig('engine', 'ssd');

  conforms('cannot be attached to a page table that was not made for it: EINVAL', async () => {
    const device = rig.device('engine');
    const error = await refuses('EINVAL', () => device.attachPasid(rig.ioas, 1));
    unlessFailing(() => assert.match(error.message, /made for PASIDs/));
    await refuses('EINVAL', () => device.attachPasidSync(rig.ioas, 0xfffff));
  });

  conforms('nor when the device itself is attached to the same', async () => {
    const device = rig.device('engine');
    await device.attach(rig.ioas);
    await refuses('EINVAL', () => device.attachPasid(rig.ioas, 1));
    assert.equal(observe(device.ioas === rig.ioas), true);
    const hwpt = rig.keep(await rig.ioas.allocHwpt(rig.device('ssd')));
    await refuses('EINVAL', () => device.attachPasid(hwpt, 2));
  });

  conforms(
    'is attached to one that was made for it; the kernel does not ask whether the device has PASIDs',
    async () => {
      const device = rig.device('engine');
      const hwpt = rig.keep(await rig.ioas.allocHwpt(device, { pasid: true }));
      await device.attachPasid(hwpt, 1);
      device.attachPasidSync(hwpt, 0xfffff);
      await device.attach(hwpt);
      await device.attachPasid(hwpt, 2);
      await device.attachPasid(hwpt, 2);
      assert.equal(observe(device.hwpt === hwpt), true);
      await device.detach();
      await device.detachPasid(1);
      device.detachPasidSync(2);
      hwpt.close(); // also detaches the last PASID
      assert.equal(observe(hwpt.closed), true);
    },
  );

  conforms('moves to another page table', async () => {
    const device = rig.device('engine');
    const [first, second] = [
      rig.keep(await rig.ioas.allocHwpt(device, { pasid: true })),
      rig.keep(await rig.ioas.allocHwpt(device, { pasid: true })),
    ];
    await device.attachPasid(first, 1);
    await device.attachPasid(second, 1);
    first.close(); // EBUSY if the PASID were still attached
    await device.detachPasid(1);
    second.close();
    assert.deepEqual(observe([first.closed, second.closed]), [true, true]);
  });

  conforms('keeps the device from page tables that were not made for PASIDs: EINVAL', async () => {
    const device = rig.device('engine');
    const hwpt = rig.keep(await rig.ioas.allocHwpt(device, { pasid: true }));
    await device.attachPasid(hwpt, 1);
    const error = await refuses('EINVAL', () => device.attach(rig.ioas));
    unlessFailing(() => assert.match(error.message, /has PASIDs attached/));
    await device.detachPasid(1);
    await device.attach(rig.ioas);
    await refuses('EINVAL', () => device.attachPasid(hwpt, 1));
    assert.equal(observe(device.ioas === rig.ioas), true);
  });

  conforms('goes with the device', async () => {
    const device = await VfioDevice.open(addresses.ports, { iommufd: rig.iommufd });
    const hwpt = rig.keep(await rig.ioas.allocHwpt(device, { pasid: true }));
    await device.attachPasid(hwpt, 7);
    device.close();
    hwpt.close();
    assert.equal(observe(hwpt.closed), true);
  });

  conforms('that is not attached is detached without an error', async () => {
    const device = rig.device('engine');
    await device.detachPasid(1);
    device.detachPasidSync(0xfffff);
    await device.attach(rig.ioas);
    await device.detachPasid(1);
    assert.equal(observe(device.ioas === rig.ioas), true);
  });

  conforms('has 20 bits, and is not 0', async () => {
    const device = rig.device('engine');
    for (const pasid of [0, -1, 0.5, 1 << 20, 2 ** 32]) {
      await refuses('ERR_OUT_OF_RANGE', () => device.attachPasid(rig.ioas, pasid));
      await refuses('ERR_OUT_OF_RANGE', () => device.attachPasidSync(rig.ioas, pasid));
      await refuses('ERR_OUT_OF_RANGE', () => device.detachPasid(pasid));
      await refuses('ERR_OUT_OF_RANGE', () => device.detachPasidSync(pasid));
    }
    await refuses('ERR_INVALID_ARG_TYPE', () => device.attachPasid(rig.ioas, '1' as unknown as number));
    await refuses('ERR_INVALID_ARG_TYPE', () => device.attachPasid({} as unknown as typeof rig.ioas, 1));
  });

  conforms('goes to a page table of the same iommufd', async () => {
    using other = Iommufd.open();
    const ioas = other.allocIoas();
    await refuses('ERR_OTHER_IOMMUFD', () => rig.device('engine').attachPasid(ioas, 1));
    ioas.close();
    await refuses('ERR_CLOSED', () => rig.device('engine').attachPasid(ioas, 1));
  });

  conforms('unbound: EINVAL', async () => {
    using device = await VfioDevice.open(addresses.ports);
    await refuses('EINVAL', () => device.attachPasid(rig.ioas, 1));
    await refuses('EINVAL', () => device.detachPasid(1));
  });
});
