// A part of `npm run test:failures` (scripts/test-failures.ts): scenarios of the conformance suite on the fake kernel, again
// and again, with their first, second, third … system call failing, until they run through. Each time there must be a coded
// error, and afterwards nothing may be left open or mapped. What was seen is sent to the parent.
//   run.ts PART PARTS ROUNDS [PART-OF-A-TITLE]
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { inspect } from 'node:util';
import { defaultKernel, type Kernel } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { cleanUp } from '../cleanup';
import { expectFailure, report, startFailing, takeReports } from '../conformance/record';
import { contextOf, loadScenarios, Skipped, type Context, type Scenario, type Step } from './suite';

/** What a part has seen. */
export interface Report {
  scenarios: number;
  injected: number;
  faults: [fault: string, times: number][];
  absorbed: [call: string, times: number][];
  /** How long each scenario took, in seconds. */
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

/** What went wrong that should not: not coded, hidden, or left behind. */
const faults = new Map<string, number>();
/** Calls whose failure made no difference, and how often. */
const absorbed = new Map<string, number>();
let injected = 0;
/** What is being tried. */
let where = 'the start';

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/** What a listener threw, and what nobody waits for: nobody else is there to catch it. */
let uncaught: unknown;
process.on('uncaughtException', (error) => {
  uncaught = error;
  report(error);
});

/** Takes a step, and says so if it takes for ever. */
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

/** Runs a scenario whole. What fails in cleaning up is done once more. */
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

const openFds = () => readdirSync('/proc/self/fd').length;

function toFake(chosen: Kernel): FakeKernel {
  assert(chosen instanceof FakeKernel);
  return chosen;
}

const text = (error: unknown) => (error instanceof Error ? error.message : inspect(error));

/** Whether nothing is open that was not before. */
const clean = (fds: number) => openFds() <= fds && kernel.openFiles === 0;

/** Lets the garbage collector take what nobody holds. */
async function collect(): Promise<void> {
  for (let i = 0; i < 3; i += 1) {
    globalThis.gc?.();
    await setImmediate();
  }
}

/** `failure`: what the scenario ended with, which errors that a listener was told of before explain. */
function judge(failure: unknown, call: string, injectedCode: string): void {
  injected += 1;
  if (takeReports().some((error) => (error as { code?: unknown }).code === injectedCode)) return;
  if (failure === undefined) {
    count(absorbed, call);
    return;
  }
  // `await using` tells two errors in one.
  const { error: last } = failure as { error?: unknown };
  const { code } = (last ?? failure) as { code?: unknown };
  if (typeof code === 'string' && code !== 'ERR_ASSERTION') return;
  count(faults, `${where}: ${text(failure)}`);
}

/** Fails call after call of one scenario, with the codes in turn, from another one on in each round. */
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
        // Some scenarios race: what fails without cause must do so twice.
        if (failure !== undefined && (await attempt(scenario)) !== undefined)
          count(faults, `${where}, and yet: ${text(failure)}`);
        break;
      }
      if (failure !== undefined) await setImmediate(); // listeners hear of errors a little later
      judge(failure, call, code);
      // What a scenario does not wait for after an error is given the time to end.
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
  const scenarios = all.filter(({ title }) => title.includes(wanted)).filter((_, i) => i % parts === part);
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
  process.send?.(report, () => process.exit(0)); // even if something was left that keeps the process alive
}

process.on('exit', (code) => {
  if (code === unfinished) console.log(`ended in the middle of ${where}: something never came to its end`);
});
process.exitCode = unfinished;
process.channel?.unref(); // what waits for ever is seen by the event loop's end
main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
