// npm run bench:run: measures what `vfio-dmabuf run` costs a program, and its start. Needs dist and g++.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';

const root = path.resolve(__dirname, '..');
const command = [path.join(root, 'dist/cli/main.js'), 'run', '--'];

function run(program: string, args: readonly string[]): void {
  const { status } = spawnSync(program, args, { stdio: 'inherit' });
  if (status !== 0) throw new Error(`${program} ended with ${String(status)}`);
}

/** The median time of several starts, in milliseconds. */
function start(program: string, args: readonly string[]): string {
  const times = Array.from({ length: 9 }, () => {
    const begin = performance.now();
    run(program, args);
    return performance.now() - begin;
  });
  return `${(times.sort((a, b) => a - b)[4] ?? NaN).toFixed(1).padStart(9)} ms`;
}

const folder = mkdtempSync(path.join(tmpdir(), 'vfio-dmabuf-bench-'));
try {
  const program = path.join(folder, 'run');
  const source = path.join(root, 'scripts/bench/run.cc');
  run(process.env['CXX'] ?? 'g++', ['-std=c++20', '-O2', '-I', path.join(root, 'native'), source, '-o', program]);
  run(program, ['without']);
  run(process.execPath, [...command, program]);
  console.log(`${'start of `true`'.padEnd(58)} ${start('true', [])}`);
  console.log(`${'start of node with an empty program'.padEnd(58)} ${start(process.execPath, ['-e', '0'])}`);
  console.log(`${'start of `true` by vfio-dmabuf run'.padEnd(58)} ${start(process.execPath, [...command, 'true'])}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
