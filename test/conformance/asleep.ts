// Waits for a device in low power.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { defaultKernel, type VfioDevice } from '../../lib';
import { onFake } from './record';

/**
 * Waits until the device is suspended. The kernel suspends it shortly after low power entry, the fake kernel at once.
 */
export async function untilAsleep(device: VfioDevice): Promise<void> {
  if (onFake) return;
  const path = `${defaultKernel().sysfs}/bus/pci/devices/${device.address ?? ''}/power/runtime_status`;
  for (let i = 0; i < 200 && readFileSync(path, 'utf8').trim() !== 'suspended'; i += 1) await sleep(10);
  assert.equal(readFileSync(path, 'utf8').trim(), 'suspended');
}
