// npm run test:vm: the conformance suite on the fake kernel and on a real one, compared case by case. A difference in a
// value or an errno is a bug of the fake, and fails.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { reference } from '../lib/fake';
import type { Case } from '../test/conformance/record';
import { runInVm } from './vm/vm';

const { values } = parseArgs({
  options: { grep: { type: 'string', short: 'g' }, timeout: { type: 'string', default: '600' } },
});

const mocha = ['node_modules/.bin/mocha', '--spec', 'test/conformance/*.test.ts'];
const command = [...mocha, '--reporter', 'dot', ...(values.grep === undefined ? [] : ['--grep', values.grep])];

const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-test-'));
process.once('exit', () => {
  rmSync(folder, { recursive: true, force: true });
});

const environment = (kernel: string, record: string) => ({ VFIO_DMABUF_KERNEL: kernel, VFIO_DMABUF_RECORD: record });

function runOnFake(): Record<string, Case> {
  const record = join(folder, 'fake.json');
  const [program = '', ...args] = command;
  const { status } = spawnSync(program, args, {
    stdio: 'inherit',
    env: { ...process.env, ...environment('fake', record) },
  });
  if (status !== 0) throw new Error('the suite fails on the fake kernel');
  return read(record);
}

async function runOnLinux(): Promise<Record<string, Case>> {
  const shared = join(folder, 'guest');
  const record = join(shared, 'system.json');
  await runInVm({
    machine: reference,
    command,
    environment: environment('system', record),
    shared,
    timeout: Number(values.timeout),
  });
  return read(record);
}

function read(record: string): Record<string, Case> {
  return JSON.parse(readFileSync(record, 'utf8')) as Record<string, Case>;
}

function compare(fake: Record<string, Case>, system: Record<string, Case>): number {
  const notRun: string[] = [];
  let [agreed, differences] = [0, 0];
  for (const name of new Set([...Object.keys(fake), ...Object.keys(system)])) {
    const [ours, theirs] = [fake[name], system[name]];
    const skipped = [ours, theirs].find((side) => side?.outcome === 'not run');
    if (skipped) {
      notRun.push(`  ${name}\n    only on the ${skipped === theirs ? 'fake' : 'real kernel'}: ${skipped.reason ?? ''}`);
    } else if (isDeepStrictEqual(ours, theirs)) {
      agreed += 1;
    } else {
      differences += 1;
      console.log(
        `\nDIFFERENCE: ${name}\n  fake:        ${JSON.stringify(ours)}\n  real kernel: ${JSON.stringify(theirs)}`,
      );
    }
  }
  console.log(
    `\n${String(agreed)} cases agree, ${String(differences)} differ, ${String(notRun.length)} run on one side only`,
  );
  if (notRun.length > 0) console.log(notRun.join('\n'));
  console.log(`${String(agreed)} passed, ${String(differences)} failed`);
  return differences;
}

async function main(): Promise<number> {
  console.log('On the fake kernel:');
  const fake = runOnFake();
  console.log('On a real kernel, in a virtual machine:');
  return compare(fake, await runOnLinux());
}

main().then(
  (differences) => {
    process.exitCode = differences === 0 ? 0 : 1;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  },
);
