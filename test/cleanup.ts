// Closes processes, timers, folders and other objects that a test opened, whether the test passes or fails.
import { spawn, type ChildProcess, type ChildProcessByStdio, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';

type Step = () => unknown;

let steps: Step[] = [];

export interface StartOptions {
  /** Variables in addition to this process's own. */
  env?: NodeJS.ProcessEnv;
  fds?: readonly number[];
}

/** Registers a step that runs when the current test has ended, passed or failed. Steps run in reverse order. */
export function afterwards(step: Step): void {
  steps.push(step);
}

/**
 * Runs the steps of the test that has ended. A step that throws does not prevent the others; the first error is thrown.
 */
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

/** Starts a process whose input and output are pipes, with `fds` from 3 on. It is killed when the test ends. */
export function start(program: string, args: readonly string[], { env, fds = [] }: StartOptions = {}) {
  const stdio: StdioOptions = ['pipe', 'pipe', 'inherit', ...fds];
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio });
  child.on('error', () => undefined); // the program cannot be started: the test notices the missing output
  afterwards(() => stop(child));
  return child as ChildProcessByStdio<Writable, Readable, null>;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

/** setInterval() with a timer that is cleared when the test ends. */
export function every(milliseconds: number, step: () => void): NodeJS.Timeout {
  const timer = setInterval(step, milliseconds);
  afterwards(() => clearInterval(timer));
  return timer;
}

/** Opens a file that is closed when the test ends. */
export function openFile(path: string, flags = 'r'): number {
  const fd = openSync(path, flags);
  afterwards(() => closeSync(fd));
  return fd;
}

/** Creates an empty folder that is removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-test-'));
  afterwards(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
