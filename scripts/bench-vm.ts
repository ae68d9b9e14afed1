// npm run bench:vm: the library beside the same loops in C, in one boot of the virtual machine, as ratios.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { addressOf, reference } from '../lib/fake';
import { operations, parseTimes } from './bench/operations';
import { exitWith } from './exit';
import { runInVm } from './vm/vm';

const turns = 3;
const checkout = resolve(__dirname, '..');
const [exporter, peer] = [addressOf(reference, 'ssd'), addressOf(reference, 'engine')];

function build(): string {
  const program = join(checkout, 'build/bench/bench');
  mkdirSync(join(checkout, 'build/bench'), { recursive: true });
  const source = join(checkout, 'scripts/bench/bench.cc');
  execFileSync(process.env['CXX'] ?? 'c++', ['-std=c++20', '-O2', `-I${checkout}/native`, source, '-o', program]);
  return program;
}

const best = (path: string) => parseTimes(readFileSync(path, 'utf8'));

async function main(): Promise<number> {
  const program = build();
  const shared = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-bench-'));
  try {
    const script = [
      'cdev() { echo /dev/vfio/devices/$(ls /sys/bus/pci/devices/$1/vfio-dev); }',
      `for turn in $(seq ${String(turns)}); do`,
      `  ${program} $(cdev ${exporter}) $(cdev ${peer}) >>${shared}/c &&`,
      `  node --import tsx scripts/bench/bench.ts ${exporter} ${peer} >>${shared}/library || exit 1`,
      'done',
    ].join('\n');
    const status = await runInVm({
      machine: reference,
      command: ['bash', '-c', script],
      environment: { VFIO_DMABUF_KERNEL: 'system' },
      shared,
      timeout: 600,
    });
    if (status !== 0) return status;
    const [c, library] = [best(join(shared, 'c')), best(join(shared, 'library'))];
    const row = (...cells: string[]) =>
      cells.map((cell, i) => (i === 0 ? cell.padEnd(36) : cell.padStart(12))).join('');
    console.log(row('', 'C, ns', 'library, ns', 'ratio', 'more, ns'));
    for (const [name, title] of Object.entries(operations)) {
      const [ours, theirs] = [library.get(name) ?? NaN, c.get(name) ?? NaN];
      console.log(
        row(title, theirs.toFixed(0), ours.toFixed(0), (ours / theirs).toFixed(2), (ours - theirs).toFixed(0)),
      );
    }
    return 0;
  } finally {
    rmSync(shared, { recursive: true, force: true });
  }
}

exitWith(main());
