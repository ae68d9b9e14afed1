// npm run test:failures [-- PART-OF-A-TITLE] [-- --every-code]: runs every scenario of the conformance suite on the
// fake kernel, with each of its system calls failing once. The errors are EMFILE, ENOMEM, EINTR and EIO in turn; with
// --every-code each call fails with each of them.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Report } from '../test/failures/run';
import { typescript } from '../test/typescript';
import { exitWith } from './exit';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'every-code': { type: 'boolean', default: false } },
});
const parts = 3 * availableParallelism(); // more parts than CPUs: scenarios often wait for interrupts
const rounds = values['every-code'] ? 4 : 1;

async function run(part: number): Promise<Report | undefined> {
  const args = [part, parts, rounds].map(String);
  const child = fork(join(__dirname, '../test/failures/run.ts'), [...args, ...positionals.slice(0, 1)], {
    // Scenarios that end early leave rejected promises that have no handler yet.
    execArgv: [...typescript, '--expose-gc', '--disable-warning=PromiseRejectionHandledWarning'],
  });
  let report: Report | undefined;
  child.on('message', (message) => (report = message as Report));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code === 0 ? report : undefined;
}

const sum = (counts: readonly (readonly [string, number])[]) => {
  const sums = new Map<string, number>();
  for (const [key, times] of counts) sums.set(key, (sums.get(key) ?? 0) + times);
  return sums;
};

async function main(): Promise<number> {
  const reports = await Promise.all(Array.from({ length: parts }, (_, part) => run(part)));
  const whole = reports.filter((report) => report !== undefined);
  const faults = sum(whole.flatMap((report) => report.faults));
  const absorbed = sum(whole.flatMap((report) => report.absorbed));
  const scenarios = whole.reduce((all, report) => all + report.scenarios, 0);
  const injected = whole.reduce((all, report) => all + report.injected, 0);
  for (const [fault, times] of faults) console.log(`FAULT (${String(times)}): ${fault}`);
  const slowest = whole.flatMap((report) => report.times).sort(([, a], [, b]) => b - a);
  for (const [title, seconds] of slowest.slice(0, 5)) console.log(`slow (${seconds.toFixed(0)} s): ${title}`);
  console.log(`failures that made no difference: ${JSON.stringify(Object.fromEntries(absorbed))}`);
  console.log(
    `${String(scenarios)} scenarios, ${String(injected)} failures injected, ${String(faults.size)} faults (leaks, or ` +
      'errors without a code)',
  );
  if (whole.length < parts) console.log('FAILED: a part did not come to its end');
  if (scenarios === 0) console.log('FAILED: no scenario has this in its title');
  return faults.size === 0 && scenarios > 0 && whole.length === parts ? 0 : 1;
}

exitWith(main());
