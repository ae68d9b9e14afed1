// Runs a program on the fake machine, by `vfio-dmabuf run`.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const cli = join(__dirname, '../../dist/cli/main.js');

/** Returns the output, with the errors, and the exit status; 124: it took longer than `seconds`. */
export function onFake(seconds: number, ...command: string[]): { output: string; status: number } {
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, [cli, 'run', '--', ...command], {
    encoding: 'utf8',
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 26,
  });
  return { output: (stdout + stderr).replaceAll('\r', ''), status: signal === 'SIGKILL' ? 124 : (status ?? 125) };
}
