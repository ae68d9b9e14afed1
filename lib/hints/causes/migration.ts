// Finds why a device does not reach a migration state.
import type { Arguments, Around } from '../../errors/around';

const preCopies = ['pre-copy', 'pre-copy-p2p'];

/** EINVAL when setting the state. */
export function noWay({ state: wanted }: Arguments, { state, states, isBound }: Around): string | undefined {
  if (wanted === undefined || !state || !states) return undefined;
  if (isBound?.() === false) return 'the device is not bound to an iommufd: bind() first';
  if (wanted === 'error') return "'error' is where a failure leads, not where one can go";
  const able = states();
  if (!able.includes(wanted)) return `this device has no '${wanted}', only ${able.join(', ')}`;
  const now = state();
  if (now === 'error') return 'a change of the state has failed half-way before: reset() is the way out';
  if (now === 'stop-copy' && preCopies.includes(wanted)) {
    return "from 'stop-copy' no way leads back to saving while it runs: go to 'running' first";
  }
  if (now === 'resuming') {
    return "what was written to the device is not whole, or not of a device of its kind; it is in 'resuming' still";
  }
  return `the driver refused; the device is in '${now}' now`;
}
