// Calls everything that the package exports with any kind of value, on a fake kernel. To test longer than by default,
// or to repeat a failure:
//
//   VFIO_DMABUF_FUZZ_SEED=7 VFIO_DMABUF_FUZZ_CALLS=1000000 npx mocha test/long/fuzz.test.ts
import assert from 'node:assert/strict';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { itNeeds, openFiles } from '../needs';
import { typescript } from '../typescript';
import { lastCalls, type Report } from './fuzz/log';

const seed = process.env['VFIO_DMABUF_FUZZ_SEED'] ?? '1';
const calls = process.env['VFIO_DMABUF_FUZZ_CALLS'] ?? '5000';
// The child's time limit in milliseconds: its start, and 5 for each call.
const patience = 60_000 + Number(calls) * 5;

describe('fuzzed arguments', function () {
  this.timeout(patience + 5000);

  const needs = [openFiles(1024)];
  const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-fuzz-journal-'));
  const journal = join(folder, 'journal');
  let child: ChildProcess | undefined;
  let output = '';
  const start = async (): Promise<{ report: Report } | { death: string }> => {
    child = fork(join(__dirname, 'fuzz/child.ts'), [seed, calls, journal], {
      execArgv: [...typescript, '--expose-gc'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      timeout: patience,
      killSignal: 'SIGKILL',
    });
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (output += String(text)));
    let report: Report | undefined;
    child.once('message', (message) => (report = message as Report));
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    return code === 0 && report ? { report } : { death: signal ?? `exit code ${String(code)}` };
  };
  let outcome: ReturnType<typeof start> | undefined;
  /** The child's report. The first test that needs it starts the child. */
  const ask = async (): Promise<Report> => {
    const found = await (outcome ??= start());
    if ('report' in found) return found.report;
    return assert.fail(
      `seed ${seed}: the child ended with ${found.death}. ${output}\nIts last calls:\n${lastCalls(journal)}`,
    );
  };
  after(() => {
    child?.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  itNeeds(needs, 'never crash the process', () => ask());

  itNeeds(
    needs,
    'give a TypeError, a RangeError, a KernelError or a documented code, and leave nothing open',
    async () => {
      const { failures } = await ask();
      assert.equal(failures.join('\n'), '', `VFIO_DMABUF_FUZZ_SEED=${seed}: ${output}`);
    },
  );

  itNeeds(needs, 'reach every class and function of the package', async () => {
    const { members, succeeded, rejected } = await ask();
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
    // Most arguments are invalid, but many calls must still reach the kernel.
    assert.ok(
      succeeded > 0.1 * (succeeded + rejected) && rejected > 0.1 * (succeeded + rejected),
      JSON.stringify({ succeeded, rejected }),
    );
  });
});
