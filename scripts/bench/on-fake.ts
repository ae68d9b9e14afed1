// Benchmark operations on the fake kernel.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { addressOf, reference } from '../../lib/fake';
import { parseTimes, type Times } from './operations';

/**
 * The library on the fake kernel, on this machine's CPU. The fake's registers are calls into a model and its ioctls
 * are work of its own; its memory BAR is plain memory, so that reading that shows what an accessor itself costs.
 */
export function measureOnFake(): Times {
  const devices = [addressOf(reference, 'ssd'), addressOf(reference, 'engine')];
  const args = ['--import', 'tsx', join(__dirname, 'bench.ts'), ...devices];
  const env = { ...process.env, VFIO_DMABUF_KERNEL: 'fake' };
  return parseTimes(execFileSync(process.execPath, args, { encoding: 'utf8', env }));
}
