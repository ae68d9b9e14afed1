// npm run bench:vm [-- --json]: compares the library with the same loops in C, in one boot of the virtual machine.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { addressOf, reference } from '../lib/fake';
import { measureOnFake } from './bench/on-fake';
import { operations, parseTimes, row, type Times } from './bench/operations';
import { exitWith } from './exit';
import { accelerator, runInVm } from './vm/vm';

const turns = 5;
const checkout = resolve(__dirname, '..');
const [exporter, peer] = [addressOf(reference, 'ssd'), addressOf(reference, 'engine')];
const { values } = parseArgs({ options: { json: { type: 'boolean', default: false } } });

interface Result {
  kernel: string;
  accelerator: string;
  node: string;
  turns: number;
  /** Nanoseconds per operation. */
  operations: { operation: string; c: number; library: number; ratio: number; difference: number }[];
  /** Nanoseconds per operation outside the virtual machine, on the fake kernel. */
  native: Record<string, number>;
}

function build(): string {
  const program = join(checkout, 'build/bench/bench');
  mkdirSync(join(checkout, 'build/bench'), { recursive: true });
  const source = join(checkout, 'scripts/bench/bench.cc');
  execFileSync(process.env['CXX'] ?? 'c++', ['-std=c++20', '-O2', `-I${checkout}/native`, source, '-o', program]);
  return program;
}

/** The C program and the library alternate. Each run is a process of its own, as a device can be bound only once. */
function script(program: string, shared: string): string {
  return [
    `uname -r >${shared}/kernel`,
    'cdev() { echo /dev/vfio/devices/$(ls /sys/bus/pci/devices/$1/vfio-dev); }',
    `for turn in $(seq ${String(turns)}); do`,
    `  ${program} $(cdev ${exporter}) $(cdev ${peer}) >>${shared}/c &&`,
    `  node --import tsx scripts/bench/bench.ts ${exporter} ${peer} >>${shared}/library || exit 1`,
    'done',
  ].join('\n');
}

function compare(c: Times, library: Times): Result['operations'] {
  return Object.keys(operations).map((operation) => {
    const [theirs, ours] = [c.get(operation) ?? NaN, library.get(operation) ?? NaN];
    return { operation, c: theirs, library: ours, ratio: ours / theirs, difference: ours - theirs };
  });
}

function print(result: Result): void {
  console.log(row('', 'C, ns', 'library, ns', 'ratio', 'more, ns'));
  for (const { operation, c, library, ratio, difference } of result.operations) {
    const title = operations[operation] ?? operation;
    console.log(row(title, c.toFixed(0), library.toFixed(0), ratio.toFixed(2), difference.toFixed(0)));
  }
  const emulated = result.accelerator === 'tcg';
  console.log(
    `\nLinux ${result.kernel}, Node ${result.node}, QEMU with ${result.accelerator}` +
      `${emulated ? ' (software emulation: only ratios mean something)' : ''}; ` +
      `medians of ${String(turns)} turns of C and the library in one boot, 5 rounds each.`,
  );
  const [load, loop] = [result.native['load32'] ?? NaN, result.native['empty-loop'] ?? NaN];
  console.log(
    `Outside the virtual machine, on this CPU: reading 32 bits of plain memory (the fake's memory BAR) through a mapping ` +
      `takes ${load.toFixed(1)} ns, a turn of an empty loop ${loop.toFixed(1)} ns. No bus is in that.`,
  );
}

async function main(): Promise<number> {
  const program = build();
  const native = Object.fromEntries(measureOnFake());
  const shared = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-bench-'));
  try {
    const status = await runInVm({
      machine: reference,
      command: ['bash', '-c', script(program, shared)],
      environment: { VFIO_DMABUF_KERNEL: 'system' },
      shared,
      timeout: 600,
    });
    if (status !== 0) return status;
    const read = (name: string) => readFileSync(join(shared, name), 'utf8');
    const result: Result = {
      kernel: read('kernel').trim(),
      accelerator: accelerator(),
      node: process.version,
      turns,
      operations: compare(parseTimes(read('c')), parseTimes(read('library'))),
      native,
    };
    if (values.json) console.log(JSON.stringify(result, null, 2));
    else print(result);
    return 0;
  } finally {
    rmSync(shared, { recursive: true, force: true });
  }
}

exitWith(main());
