// One part of `npm run test:failures` (scripts/test-failures.ts). Repeats scenarios of the conformance suite on the
// fake kernel with their first, second, third … system call failing, until they run without a failure. Each failure
// must cause an error with a code, and leave nothing open or mapped. The results are sent to the parent.
//   run.ts PART PARTS ROUNDS [PART-OF-A-TITLE]
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { defaultKernel, type Kernel } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { openFds } from '../conformance/fds';
import { cleanUp } from '../cleanup';
import { expectFailure, report, startFailing, takeReports } from '../conformance/record';
import { contextOf, loadScenarios, Skipped, type Context, type Scenario, type Step } from './suite';

/** Scenarios that make the calls of others thousands of times. They run if they are asked for. */
const repetitive = /^NVMe commands (?:Identify|Get Features)/;

/** The results of a part. */
export interface Report {
  scenarios: number;
  injected: number;
  faults: [fault: string, times: number][];
  absorbed: [call: string, times: number][];
  /** The duration of each scenario, in seconds. */
  times: [title: string, seconds: number][];
}

const [part = 0, parts = 1, rounds = 1] = process.argv.slice(2, 5).map(Number);
const wanted = process.argv[5] ?? '';
const codes = ['EMFILE', 'ENOMEM', 'EINTR', 'EIO'];
const unfinished = 99;
const patience = 1000; // turns of the event loop
const longest = 5000; // milliseconds of a step
const folder = join(__dirname, '../conformance');
process.env['VFIO_DMABUF_KERNEL'] = 'fake';
const kernel = toFake(defaultKernel());

/** The faults: errors without a code, hidden errors, and files that were left open. */
const faults = new Map<string, number>();
/** Calls whose failure had no effect, and how often. */
const absorbed = new Map<string, number>();
let injected = 0;
/** The current step. */
let where = 'the start';

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/** An error from a listener, or of a rejected promise without a handler. Only this handler receives them. */
let uncaught: unknown;
process.on('uncaughtException', (error) => {
  uncaught = error;
  report(error);
});

/** Runs a step with a time limit. */
async function take(step: Step, context: Context): Promise<void> {
  const done = new AbortController();
  const late = setTimeout(longest, undefined, { signal: done.signal }).then(() => {
    throw new Error('never comes to its end');
  });
  try {
    await Promise.race([step.call(context), late]);
  } finally {
    done.abort();
    late.catch(() => undefined);
  }
}

/** Runs a scenario with its setup and cleanup. Steps of the cleanup that fail are repeated once. */
async function attempt(scenario: Scenario): Promise<unknown> {
  const context = contextOf(scenario);
  let failure: unknown;
  uncaught = undefined;
  takeReports();
  try {
    for (const step of [...scenario.before, scenario.body]) await take(step, context);
  } catch (error) {
    failure = error;
  }
  for (const step of [...scenario.after, cleanUp]) {
    try {
      await take(step, context);
    } catch (error) {
      failure ??= error;
      try {
        await take(step, context);
      } catch (again) {
        count(faults, `${where}: cleaning up fails twice: ${text(again)}`);
      }
    }
  }
  return failure ?? uncaught;
}

function toFake(chosen: Kernel): FakeKernel {
  assert(chosen instanceof FakeKernel);
  return chosen;
}

const text = (error: unknown) => (error instanceof Error ? error.message : inspect(error));

/** Whether only the files are open that were open before. */
const clean = (fds: number) => openFds() <= fds && kernel.openFiles === 0;

/** Runs the garbage collector. */
async function collect(): Promise<void> {
  for (let i = 0; i < 3; i += 1) {
    globalThis.gc?.();
    await setImmediate();
  }
}

/**
 * Judges an injected failure. `failure` is the scenario's error. An injected error that a listener received is correct.
 */
function judge(failure: unknown, call: string, injectedCode: string): void {
  injected += 1;
  if (takeReports().some((error) => (error as { code?: unknown }).code === injectedCode)) return;
  if (failure === undefined) {
    count(absorbed, call);
    return;
  }
  // `await using` combines two errors into one.
  const { error: last } = failure as { error?: unknown };
  const { code } = (last ?? failure) as { code?: unknown };
  if (typeof code === 'string' && code !== 'ERR_ASSERTION') return;
  count(faults, `${where}: ${text(failure)}`);
}

/** Fails the calls of one scenario one after the other, with the codes in turn. Each round begins with another code. */
async function failEach(scenario: Scenario, first: number): Promise<void> {
  const fds = openFds();
  for (let round = 0; round < rounds; round += 1) {
    for (let n = 1; ; n += 1) {
      const code = codes[(first + round + n) % codes.length] ?? 'EIO';
      where = `${scenario.title}, call ${String(n)} fails with ${code}`;
      expectFailure(code);
      kernel.failCall(n, code);
      const failure = await attempt(scenario);
      const call = kernel.failedCall;
      kernel.failCall(0, code);
      expectFailure(undefined);
      where = `${scenario.title}, call ${String(n)} (${call ?? 'none'}) fails with ${code}`;
      if (call === undefined) {
        // Some scenarios have races: an error without an injected failure must occur twice.
        if (failure !== undefined && (await attempt(scenario)) !== undefined)
          count(faults, `${where}, and yet: ${text(failure)}`);
        break;
      }
      if (failure !== undefined) await setImmediate(); // listeners receive errors later
      judge(failure, call, code);
      // Waits for calls that the scenario did not await after an error.
      for (let i = 0; i < patience && !clean(fds); i += 1) await setImmediate();
      if (clean(fds)) continue;
      count(faults, `${where}: leaves ${String(openFds() - fds)} fds, ${String(kernel.openFiles)} files of the kernel`);
      await collect();
      if (!clean(fds)) return;
    }
  }
}

async function main(): Promise<void> {
  startFailing();
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
  const all = await loadScenarios(files.map((name) => join(folder, name)));
  const scenarios = all
    .filter(({ title }) => title.includes(wanted) && (wanted !== '' || !repetitive.test(title)))
    .filter((_, i) => i % parts === part);
  let run = 0;
  const times: Report['times'] = [];
  for (const [index, scenario] of scenarios.entries()) {
    const failure = await attempt(scenario);
    if (failure instanceof Skipped) continue;
    if (failure !== undefined) {
      count(faults, `${scenario.title}, with no call failing: ${text(failure)}`);
      continue;
    }
    await collect();
    const mappings = kernel.openMappings;
    const start = performance.now();
    await failEach(scenario, index);
    await collect();
    times.push([scenario.title, (performance.now() - start) / 1000]);
    if (kernel.openMappings > mappings) {
      count(faults, `${scenario.title}: leaves ${String(kernel.openMappings - mappings)} mappings`);
    }
    run += 1;
  }
  const report: Report = { scenarios: run, injected, faults: [...faults], absorbed: [...absorbed], times };
  process.send?.(report, () => process.exit(0)); // even if a leak keeps the process alive
}

process.on('exit', (code) => {
  if (code === unfinished) console.log(`ended in the middle of ${where}: something never came to its end`);
});
process.exitCode = unfinished;
process.channel?.unref(); // the event loop ends when a wait would never end
main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
