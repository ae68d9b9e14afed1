// Records the values and errors of cases that run on the fake and on a real kernel, for a comparison.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { KernelError } from '../../lib';
import { itNeeds, type Need } from '../needs';
import { startWitness, witness, type Ioctls } from './witness';

/** The record of one case. */
export interface Case {
  outcome: 'passed' | 'failed' | 'not run';
  /** The reason why it was not run here. */
  reason?: string;
  observations: unknown[];
  error?: string;
  /** Not compared. */
  ioctls?: Ioctls;
  /** Values that differ between the kernels for a known reason, by name. */
  exceptions?: Record<string, unknown>;
}

const cases: Record<string, Case> = {};
let current: Case | undefined;
const recordPath = process.env['VFIO_DMABUF_RECORD'];
if (recordPath !== undefined) startWitness();

/** Whether the suite runs on the fake kernel. */
export const onFake = (process.env['VFIO_DMABUF_KERNEL'] ?? 'fake').startsWith('fake');

/** Records a value that must be equal on every kernel, and returns it. */
export function observe<T>(value: T): T {
  current?.observations.push(value);
  return value;
}

/** Records a value that may differ, for a reason that the documentation gives. */
export function except(name: string, value: unknown): void {
  if (current) (current.exceptions ??= {})[name] = value;
}

let expected: string | undefined;
let failing = false;

let reported: unknown[] = [];

/** Records an error that the library passed to a listener. */
export function report(error: unknown): void {
  reported.push(error);
}

/** Returns the errors since the last call. */
export function takeReports(): unknown[] {
  const errors = reported;
  reported = [];
  return errors;
}

/** Declares that the following cases run with injected failures of system calls. */
export function startFailing(): void {
  failing = true;
}

/** Sets the injected error code. {@link refuses} then passes on errors with this code. */
export function expectFailure(code: string | undefined): void {
  expected = code;
}

/** Checks a result that the library omits if a call for it fails. */
export function unlessFailing(check: () => void): void {
  if (expected === undefined) check();
}

/** Expects a failure with `code`, and records code, errno and ioctl. A KernelError must have a hint. */
export async function refuses(code: string, call: () => unknown): Promise<Error & { code: string }> {
  let error: unknown;
  try {
    await call();
  } catch (caught) {
    error = caught;
  }
  assert(error instanceof Error, `expected ${code}, and it succeeded`);
  const seen = error as Error & { code: string };
  if (expected !== code && seen.code === expected) throw error;
  if (error instanceof KernelError) {
    observe({ code: error.code, errno: error.errno, syscall: error.syscall, ioctl: error.ioctl });
    assert(expected !== undefined || error.hint !== undefined, `${error.message}: has no hint`);
  } else {
    observe({ code: seen.code, name: error.name });
  }
  assert.equal(seen.code, code, error.message);
  return seen;
}

/** Expects a failure with an error that the library did not create: an AbortError, or one that the caller passed in. */
export async function endsWith(wanted: { name: string; message?: string }, call: () => unknown): Promise<void> {
  try {
    await call();
  } catch (error) {
    if (expected !== undefined && (error as { code?: unknown }).code === expected) throw error;
    for (const [key, value] of Object.entries(wanted)) assert.equal((error as Error)[key as 'name'], value);
    return;
  }
  assert.fail(`expected ${wanted.name}, and it succeeded`);
}

/** Whether a promise is still pending after 30 ms. */
export async function isPending(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([promise.then(() => false), sleep(30, true)]);
}

type Body = () => unknown;

/** A case that runs on every kernel. */
export function conforms(title: string, body: Body, needs: readonly Need[] = [], runs = () => true): void {
  itNeeds(needs, title, async function () {
    if (!runs()) this.skip();
    const name = this.test?.fullTitle() ?? title;
    assert(!(name in cases), `two cases are called ${name}`);
    const record: Case = (cases[name] = { outcome: 'failed', observations: [] });
    current = record;
    try {
      record.ioctls = await witness(body);
      record.outcome = 'passed';
    } catch (error) {
      record.error = String(error);
      throw error;
    } finally {
      current = undefined;
    }
  });
}

/**
 * A case with other programs. It does not run with injected failures, as the behaviour of other programs then varies.
 */
export function conformsBeside(needs: readonly Need[], title: string, body: Body): void {
  conforms(title, body, needs, () => !failing);
}

/** A case that can run on one kind of kernel only. On the other it is skipped, and its title has the reason. */
export function conformsOnlyOn(side: 'fake' | 'system', reason: string, title: string, body: Body): void {
  if ((side === 'fake') === onFake) {
    conforms(title, body);
    return;
  }
  it(`${title} (not here: ${reason})`, function () {
    const name = (this.test?.fullTitle() ?? title).replace(` (not here: ${reason})`, '');
    cases[name] = { outcome: 'not run', reason, observations: [] };
    this.skip();
  });
}

/** Writes all records to the file that VFIO_DMABUF_RECORD names; does nothing if the variable is not set. */
export function writeRecord(): void {
  if (recordPath === undefined) return;
  const plain = (_: string, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value);
  writeFileSync(recordPath, JSON.stringify(cases, plain, 1));
}
