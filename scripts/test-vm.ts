// npm run test:vm: runs the conformance suite on the fake kernel and on a real one, and compares each case. A different
// value or errno is a bug of the fake kernel, and the test fails. --old-kernel IMAGE tests the library's errors on a
// kernel that is too old. --write-table generates docs/abi.md and
// docs/nvme-model.md from the records.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { reference } from '../lib/fake';
import type { Case } from '../test/conformance/record';
import { abiTable } from './abi/table';
import { nvmeTable } from './nvme-table';
import { exitWith } from './exit';
import { kernelImage } from './vm/kernel-image';
import { runInVm } from './vm/vm';

const { values } = parseArgs({
  options: {
    grep: { type: 'string', short: 'g' },
    'old-kernel': { type: 'string' },
    'write-table': { type: 'boolean', default: false },
    timeout: { type: 'string', default: '1800' },
  },
});
const timeout = Number(values.timeout);

// On a busy computer, starting a child process in the virtual machine can take half a minute.
const patience = ['--timeout', '180000'];
const mocha = (spec: string, ...more: string[]) => ['node_modules/.bin/mocha', spec, ...patience, ...more];
const suite = mocha(
  'test/conformance/*.test.ts',
  '--reporter',
  'dot',
  ...(values.grep === undefined ? [] : ['--grep', values.grep]),
);

const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-test-'));
process.once('exit', () => {
  rmSync(folder, { recursive: true, force: true });
});

const environment = (kernel: string, record: string) => ({ VFIO_DMABUF_KERNEL: kernel, VFIO_DMABUF_RECORD: record });

function runOnFake(): Record<string, Case> {
  const record = join(folder, 'fake.json');
  const [program = '', ...args] = suite;
  const { status } = spawnSync(program, args, {
    stdio: 'inherit',
    env: { ...process.env, ...environment('fake', record) },
  });
  if (status !== 0) throw new Error('the suite fails on the fake kernel');
  return read(record);
}

async function runOnLinux(): Promise<{ status: number; cases: Record<string, Case> }> {
  const shared = join(folder, 'guest');
  const record = join(shared, 'system.json');
  // Warnings in the kernel's log are failures, too.
  const quiet = '! dmesg | grep -E "WARNING:|BUG:|Oops|refcount_t"';
  const status = await runInVm({
    machine: reference,
    command: ['bash', '-c', `"$@"; status=$?; ${quiet} && exit $status`, 'suite', ...suite],
    environment: environment('system', record),
    shared,
    timeout,
  });
  if (status !== 0) console.log(`the suite exits with ${String(status)} on the real kernel, or the kernel complained`);
  return { status, cases: read(record) };
}

function read(record: string): Record<string, Case> {
  return JSON.parse(readFileSync(record, 'utf8')) as Record<string, Case>;
}

/** The part of a case's record that must be equal on both kernels. */
function seenBy(side: Case | undefined): object | undefined {
  return side && { ...side, ioctls: undefined, exceptions: undefined };
}

function compare(fake: Record<string, Case>, system: Record<string, Case>): number {
  const notRun: string[] = [];
  let [agreed, differences] = [0, 0];
  for (const name of new Set([...Object.keys(fake), ...Object.keys(system)])) {
    const [ours, theirs] = [fake[name], system[name]];
    const skipped = [ours, theirs].find((side) => side?.outcome === 'not run');
    if (skipped) {
      notRun.push(`  ${name}\n    only on the ${skipped === theirs ? 'fake' : 'real kernel'}: ${skipped.reason ?? ''}`);
    } else if (isDeepStrictEqual(seenBy(ours), seenBy(theirs))) {
      agreed += 1;
    } else {
      differences += 1;
      console.log(
        `\nDIFFERENCE: ${name}\n  fake:        ${JSON.stringify(seenBy(ours))}\n` +
          `  real kernel: ${JSON.stringify(seenBy(theirs))}`,
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

/** Generates the table of the ABI. Returns whether every ioctl has a method, and cases that show it on both kernels. */
function tabulate(fake: Record<string, Case>, system: Record<string, Case>): boolean {
  const { text, missing } = abiTable(fake, system, kernelName());
  if (values['write-table']) writeFileSync(join(__dirname, '../docs/abi.md'), text);
  for (const gap of missing) console.log(gap);
  return missing.length === 0;
}

/** 'Linux 7.3.4', from the image's file name. */
function kernelName(): string {
  return `Linux ${/\d+(?:\.\d+)+/.exec(basename(kernelImage()))?.[0] ?? ''}`.trim();
}

/** Runs the tests on a kernel without dma-bufs of VFIO devices: errors must name the missing feature. */
function runOnOld(image: string): Promise<number> {
  const command = mocha('test/old-kernel/*.test.ts');
  return runInVm({ machine: reference, command, environment: { VFIO_DMABUF_KERNEL: 'system' }, timeout, image });
}

async function main(): Promise<number> {
  const old = values['old-kernel'];
  if (old !== undefined) return runOnOld(old);
  console.log('On the fake kernel:');
  const fake = runOnFake();
  console.log('On a real kernel, in a virtual machine:');
  const { status, cases } = await runOnLinux();
  if (values['write-table']) writeFileSync(join(__dirname, '../docs/nvme-model.md'), nvmeTable(fake, cases));
  const complete = values.grep !== undefined || tabulate(fake, cases);
  return compare(fake, cases) === 0 && status === 0 && complete ? 0 : 1;
}

exitWith(main());
