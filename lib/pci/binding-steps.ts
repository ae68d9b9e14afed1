// Carries out the steps of a change of drivers in a process of its own, and waits for it for a bounded time.
//
// The kernel unbinds a device from VFIO only when nobody has it open, and waits for that in a way that not even SIGKILL
// interrupts (vfio_unregister_group_dev()). A thread of this process that waits so would keep the process from ending.
// The other process goes on after this one has stopped waiting, or has ended, and completes the steps.
import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { native } from '../addon/native';
import { codedError } from '../errors/errors';
import { Kernel } from '../kernel/kernel';
import { processes } from '../kernel/processes';
import { attempt, text } from '../kernel/look';
import { isRunning, until, type Waiting } from './waiting';

/** A step: write `value` to `file`; undefined: remove the file. */
export interface BindingStep {
  file: string;
  value: string | undefined;
  /** What is written after `value`, in the file that remembers the device. */
  details?: string;
}

// Files that are not of sysfs are replaced in one step, so that no reader sees a part of them.
const script = `
const fs = require('node:fs'), path = require('node:path');
const log = (entry) => { try { fs.writeSync(1, JSON.stringify(entry) + '\\n'); } catch {} };
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGPIPE']) process.on(signal, () => {});
const steps = JSON.parse(process.argv[1]);
log({ pid: process.pid });
let at = 0;
try {
  for (const { file, value, whole } of steps) {
    log({ at });
    if (value === undefined) fs.rmSync(file, { force: true });
    else if (whole === undefined) fs.writeFileSync(file, value);
    else {
      fs.mkdirSync(path.dirname(file), { recursive: true });
      const temporary = path.join(path.dirname(file), '.' + path.basename(file) + '.' + process.pid);
      fs.writeFileSync(temporary, whole);
      fs.renameSync(temporary, file);
    }
    at += 1;
  }
  log({ done: true });
} catch (error) {
  log({ failed: at, code: error.code || 'EIO' });
}`;

/** The last entries of the log. */
interface Progress {
  pid?: number;
  at?: number;
  done?: boolean;
  failed?: number;
  code?: string;
}

function progressIn(log: string): Progress {
  const progress: Progress = {};
  for (const line of log.split('\n'))
    Object.assign(
      progress,
      attempt(() => JSON.parse(line) as Progress),
    );
  return progress;
}

/** How the steps ended. `waiting`: the time is over, and process `pid` waits in the step. */
export type Outcome =
  | { state: 'done' }
  | { state: 'failed'; step: BindingStep; code: string }
  | { state: 'waiting'; step: BindingStep; pid: number };

function rejected(step: { file: string; value: string | undefined }, error: unknown): Error {
  const { code = 'EIO' } = error as NodeJS.ErrnoException;
  return refusal(step, code, error);
}

/** The error of a step that the kernel refused. */
export function refusal({ file, value }: Pick<BindingStep, 'file' | 'value'>, code: string, cause?: unknown): Error {
  const hint = code === 'EACCES' || code === 'EPERM' ? ': only root may' : '';
  const what = value === undefined ? `remove ${file}` : `write ${value.trim().split('\n')[0] ?? ''} to ${file}`;
  return codedError(code, `cannot ${what} (${code})${hint}`, cause);
}

/**
 * The lock on a device's driver: flock(2) on a file, which the kernel releases when the last process that has it ends.
 * The process that carries out the steps shares it.
 */
export class BindingLock {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Takes the lock.
   *
   * @throws Error ERR_IN_USE: another process has had it for all of `milliseconds`. EACCES: not root.
   */
  static *take(file: string, address: string, milliseconds: number): Waiting<BindingLock> {
    let fd: number;
    try {
      mkdirSync(dirname(file), { recursive: true });
      fd = openSync(file, 'a+', 0o600);
    } catch (error) {
      throw rejected({ file, value: 'the lock' }, error);
    }
    try {
      const taken = yield* until(milliseconds, () => native.fdLock(Kernel.system.handle, fd) || undefined);
      if (taken) return new BindingLock(fd);
      const { pid } = progressIn(text(file));
      const who = pid === undefined ? 'another process' : `another process (PID ${String(pid)})`;
      throw codedError('ERR_IN_USE', `${who} is changing the driver of ${address}`);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  release(): void {
    closeSync(this.#fd);
  }

  /** Carries out the steps. */
  *carryOut(steps: readonly BindingStep[], milliseconds: number): Waiting<Outcome> {
    const [first] = steps;
    if (first === undefined) return { state: 'done' };
    ftruncateSync(this.#fd);
    const given = steps.map(({ file, value, details }) => ({
      ...{ file, value },
      ...(details !== undefined && { whole: `${value ?? ''}${details}` }),
    }));
    const child = processes().spawn(process.execPath, ['-e', script, JSON.stringify(given)], {
      ...{ detached: true, stdio: ['ignore', this.#fd, 'ignore'], cwd: '/' },
      env: { ELECTRON_RUN_AS_NODE: '1' },
    });
    child.on('error', () => undefined); // the process could not be started: it has no pid
    child.unref();
    const { pid } = child;
    if (pid === undefined) throw codedError('EAGAIN', `cannot start ${process.execPath} to change the driver`);
    const log = () => progressIn(readFileSync(`/proc/self/fd/${String(this.#fd)}`, 'utf8'));
    const stepAt = (index = 0): BindingStep => steps[index] ?? first;
    const outcome = yield* until(milliseconds, (): Outcome | undefined => {
      const ended = !isRunning(pid);
      const progress = log();
      if (progress.done) return { state: 'done' };
      if (progress.failed !== undefined)
        return { state: 'failed', step: stepAt(progress.failed), code: progress.code ?? 'EIO' };
      return ended ? { state: 'failed', step: stepAt(progress.at), code: 'EINTR' } : undefined;
    });
    return outcome ?? { state: 'waiting', step: stepAt(log().at), pid };
  }
}
