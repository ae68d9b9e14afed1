// Calls everything that the package exports with everything that a program could pass in, on a fake kernel. To look for
// more than the default does, or to see a failure again:
//
//   VFIO_DMABUF_FUZZ_SEED=7 VFIO_DMABUF_FUZZ_CALLS=1000000 npx mocha test/unit/fuzz.test.ts
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lastCalls, type Report } from './fuzz/log';

const seed = process.env['VFIO_DMABUF_FUZZ_SEED'] ?? '1';
const calls = process.env['VFIO_DMABUF_FUZZ_CALLS'] ?? '20000';
// What a call may take at the most, and the child to start.
const patience = 60_000 + Number(calls) * 5;

describe('fuzzed arguments', function () {
  this.timeout(patience + 5000);

  const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-fuzz-journal-'));
  const journal = join(folder, 'journal');
  let report: Report | undefined;
  let death: string | undefined;
  let output = '';

  before((done) => {
    const child = fork(join(__dirname, 'fuzz/child.ts'), [seed, calls, journal], {
      execArgv: ['--import', 'tsx', '--expose-gc'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      timeout: patience,
      killSignal: 'SIGKILL',
    });
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (output += String(text)));
    child.once('message', (message) => (report = message as Report));
    child.once('close', (code, signal) => {
      if (code !== 0 || !report) death = signal ?? `exit code ${code}`;
      done();
    });
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('never crash the process', () => {
    if (death !== undefined) {
      assert.fail(`seed ${seed}: the child died of ${death}. ${output}\nIts last calls:\n${lastCalls(journal)}`);
    }
  });

  it('give a TypeError, a RangeError, a KernelError or a documented code, and leave nothing open', function () {
    if (!report) return this.skip();
    const failures = report.failures.join('\n');
    if (failures !== '') assert.fail(`VFIO_DMABUF_FUZZ_SEED=${seed}:\n${failures}\n${output}`);
  });

  it('reach every class and function of the package', function () {
    if (!report) return this.skip();
    const { members, succeeded, rejected } = report;
    for (const id of [
      'new DmaBuf',
      'Iommufd.open',
      'Ioas#mapDmaBuf',
      'set DmaBuf#name',
      'MappedRegion#read32',
      'addressOf()',
    ]) {
      assert.ok(members.includes(id), `${id} is not among ${members.join(', ')}`);
    }
    // Most arguments are bad, and yet many calls get through to the kernel.
    assert.ok(
      succeeded > 0.1 * (succeeded + rejected) && rejected > 0.1 * (succeeded + rejected),
      JSON.stringify(report),
    );
  });
});
