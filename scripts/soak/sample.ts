// Samples the memory and fds of this process, and the memory of the kernel.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';

/** Values are in bytes, except the number of fds. */
export interface Sample {
  rss: number;
  heap: number;
  external: number;
  fds: number;
  /** The kernel's unreclaimable memory, on the whole machine. */
  kernel: number;
}

function kernelMemory(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(text)?.[1] ?? 0);
  return 1024 * (kilobytes('SUnreclaim') + kilobytes('PageTables') + kilobytes('KernelStack') + kilobytes('Percpu'));
}

const collect = globalThis.gc ?? (() => assert.fail('run with --expose-gc'));

/** Takes a sample after garbage collection and finalizers. */
export async function takeSample(): Promise<Sample> {
  for (let i = 0; i < 5; i += 1) {
    collect();
    await turn();
  }
  const { rss, heapUsed: heap, external } = process.memoryUsage();
  return { rss, heap, external, fds: readdirSync('/proc/self/fd').length, kernel: kernelMemory() };
}

const MiB = 1 << 20;
const columns = ['rss', 'heap', 'external', 'kernel'] as const;

export function row(title: string, sample: Sample): string {
  const memory = columns.map((name) => `${name} ${(sample[name] / MiB).toFixed(2).padStart(8)} MiB`);
  return `${title.padEnd(26)} ${memory.join('  ')}  fds ${String(sample.fds)}`;
}

/**
 * Compares two samples. `bounds` has the allowed growth of each value. Returns the values that grew more, with their
 * growth.
 */
export function growth(start: Sample, end: Sample, bounds: Sample): string[] {
  const names = Object.keys(bounds) as (keyof Sample)[];
  return names
    .filter((name) => end[name] - start[name] > bounds[name])
    .map((name) => `${name} grew by ${String(end[name] - start[name])}; the bound is ${String(bounds[name])}`);
}
