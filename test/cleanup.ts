// Closes what a test opened, however the test ends: processes, timers, folders, and other objects.
import { spawn, type ChildProcess, type ChildProcessByStdio, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

type Step = () => unknown;

let steps: Step[] = [];

export interface StartOptions {
  /** Beside this process's own. */
  env?: NodeJS.ProcessEnv;
  fds?: readonly number[];
}

/** Runs when the current test has ended, passed or failed. Later steps run first. */
export function afterwards(step: Step): void {
  steps.push(step);
}

/** Runs the steps of the test that has ended. Each runs, even if another one throws; the first error is thrown. */
export async function cleanUp(): Promise<void> {
  const due = steps.reverse();
  steps = [];
  const errors: unknown[] = [];
  for (const step of due) {
    try {
      await step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** A process whose input and output are pipes, and which has `fds` from 3 on. It is killed when the test ends. */
export function start(program: string, args: readonly string[], { env, fds = [] }: StartOptions = {}) {
  const stdio: StdioOptions = ['pipe', 'pipe', 'inherit', ...fds];
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio });
  child.on('error', () => undefined); // a program that cannot be started: the test sees that nothing comes from it
  afterwards(() => stop(child));
  return child as ChildProcessByStdio<Writable, Readable, null>;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

/** setInterval(), that is cleared when the test ends. */
export function every(milliseconds: number, step: () => void): NodeJS.Timeout {
  const timer = setInterval(step, milliseconds);
  afterwards(() => {
    clearInterval(timer);
  });
  return timer;
}

/** A new, empty folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-test-'));
  afterwards(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}
