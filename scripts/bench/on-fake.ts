// Benchmark operations on the fake kernel.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { addressOf, reference } from '../../lib/fake';
import { parseTimes, type Times } from './operations';

/**
 * Measures the library on the fake kernel, on this machine's CPU. The fake kernel's registers call a model, and its
 * ioctls do work of their own. Its memory BAR is plain memory, so reads of that BAR show the cost of an accessor.
 */
export function measureOnFake(): Times {
  const devices = [addressOf(reference, 'ssd'), addressOf(reference, 'engine')];
  const args = ['--import', 'tsx', join(__dirname, 'bench.ts'), ...devices];
  const env = { ...process.env, VFIO_DMABUF_KERNEL: 'fake' };
  return parseTimes(execFileSync(process.execPath, args, { encoding: 'utf8', env }));
}
