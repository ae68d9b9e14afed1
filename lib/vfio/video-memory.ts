// Finds the BAR with the video memory of a display controller or GPU.
import { codedError } from '../errors/errors';
import { instance } from '../errors/validate';
import { VfioDevice } from './device';
import type { Region } from './region';

const displayClass = 0x03;
const firstBar = 0x10;
const bars = 6;

/** PCI 3.0, section 6.2.5.1: bit 0 is set for I/O ports, bit 3 for prefetchable memory. */
const isPrefetchable = (bar: number) => (bar & 0b1001) === 0b1000;

/**
 * Returns the BAR with the video memory: the largest prefetchable BAR of a display controller (class 03h). With a
 * resizable BAR that was not resized, the BAR covers only the first part of the memory.
 *
 * @throws Error ERR_NO_VIDEO_MEMORY: not a display controller, or no such BAR. TypeError ERR_INVALID_ARG_TYPE.
 */
export function videoMemory(device: VfioDevice): Region {
  const { config, address } = instance(device, 'device', VfioDevice);
  const found: Region[] = [];
  for (let index = 0; config.read8(0x0b) === displayClass && index < bars; index += 1) {
    const bar = config.read32(firstBar + 4 * index);
    if (isPrefetchable(bar)) found.push(device.region(index));
    if ((bar & 0b111) === 0b100) index += 1; // a 64-bit BAR: the next register is its upper half
  }
  const [largest] = found.filter(({ size }) => size > 0n).sort((a, b) => (a.size > b.size ? -1 : 1));
  if (!largest) throw codedError('ERR_NO_VIDEO_MEMORY', `${address ?? 'the device'} has no video memory in a BAR`);
  return largest;
}
