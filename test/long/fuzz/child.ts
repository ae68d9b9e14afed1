// The fuzzer. It runs in its own process, so that a crash does not end the tests.
//
//   child.ts SEED CALLS JOURNAL
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { FakeKernel } from '../../../lib/fake';
import { Fixture, makeOthers } from './fixture';
import { Log } from './log';
import { Random } from './random';
import { Round } from './round';
import { Surface, type Class } from './surface';
import { OwnError } from './values';

const [, , seedText = '1', callsText = '1000', journal = ''] = process.argv;
const seed = Number(seedText);
const calls = Number(callsText);
const callsPerRound = 100;

const log = new Log(journal);
// In memory, as many fake kernels write a sysfs tree.
const folder = fs.mkdtempSync(join(fs.existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'vfio-dmabuf-fuzz-'));
process.env['TMPDIR'] = folder;
process.env['VFIO_DMABUF_KERNEL'] = 'fake';

// The fuzzed calls must only remove files in this folder.
const { rmSync } = fs;
fs.rmSync = (path, options) => {
  if (typeof path === 'string' && !resolve(path).startsWith(folder)) {
    log.fail(`removes ${path}`, 'removes');
    throw new OwnError('not here');
  }
  rmSync(path, options);
};

/**
 * Whether this round overwrites properties that the types declare read-only. Unhandled rejections in such a round are
 * ignored, as code outside the library can cause them.
 */
let wild = false;
process.on('unhandledRejection', (reason) => {
  if (wild) return;
  log.fail(
    `an unhandled rejection: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`,
    'unhandled rejection',
  );
});
process.on('uncaughtException', (error) =>
  log.fail(`an uncaught exception: ${error.stack ?? error.message}`, 'uncaught exception'),
);
process.on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') log.fail(`a warning: ${warning.message}`, 'warning');
});

function identify(fd: number): string {
  const { dev, ino } = fs.fstatSync(fd);
  return `${dev} ${ino}`;
}

async function main(): Promise<void> {
  const standard = [0, 1, 2].map(identify);
  const surface = new Surface();
  const reached = new Set<Class>();
  let others = makeOthers();
  let kernel = new FakeKernel();
  // All members are found before the first round, so that each round can be repeated alone.
  for (const { value } of others) surface.learn(value);

  for (let number = seed; log.report.calls < calls; number += 1) {
    wild = number % 8 < 2;
    const fixture = new Fixture(kernel, others);
    const round = new Round(new Random(number), surface, fixture, log, wild);
    for (let i = 0; i < callsPerRound; i += 1) await round.step();
    await round.end(`seed ${number}`);
    if (wild && number % 8 === 1) others = makeOthers();
    // A kernel does not notice that another one closed a duplicate of its fd.
    if (wild || !fs.existsSync(kernel.sysfs) || kernel.openFiles > 0) {
      fixture.closeQuietly(kernel);
      kernel = new FakeKernel();
    }
    if (number % 8 === 0) globalThis.gc?.();
    for (const type of surface.classes)
      if (fixture.samples.some(({ value }) => value instanceof type)) reached.add(type);
  }

  for (const { name } of surface.classes.filter((type) => !reached.has(type))) {
    log.fail(`makes no object of class ${name} to call on`, name, 'fixture.ts');
  }
  for (const [fd, before] of standard.entries()) {
    if (identify(fd) !== before) log.fail(`fd ${fd} is another file now`, 'standard');
  }
  log.report.members = surface.members.map(({ id }) => id);
}

main()
  .catch((error: unknown) => log.fail(error instanceof Error ? (error.stack ?? '') : String(error), 'fuzzer'))
  .finally(() => {
    process.send?.(log.report, () => process.exit());
    rmSync(folder, { recursive: true, force: true });
  });
