// npm run test:broken [-- ASSERTION...]: runs the suite with every second test made to fail at that assertion (default:
// the first; a number that is too large: at the test's end), and then with the other tests. Exactly the broken tests
// must fail. The run must end by itself, and leave no process and no file behind.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { root } from './cmake';
import { exitWith } from './exit';
import { suiteCommand } from './suite';

const longest = 20 * 60_000;
const folder = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'vfio-dmabuf-broken-'));
chmodSync(folder, 0o755); // some tests run as another user

interface Results {
  passes: { fullTitle: string }[];
  failures: { fullTitle: string; err: { message?: string } }[];
}

const titles = (file: string) =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as string);

/** The running processes that have this variable in their environment. */
function left(variable: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(variable);
    } catch {
      return false;
    }
  });
}

/** Runs the suite. Returns the faults. */
async function run(remainder: number, assertion: number): Promise<string[]> {
  const name = `${String(remainder)}-${String(assertion)}`;
  const [broken, results, temporary] = ['titles', 'json', 'files'].map((kind) =>
    path.join(folder, `${name}.${kind}`),
  ) as [string, string, string];
  mkdirSync(temporary);
  const VFIO_DMABUF_TEST_BREAK = `${String(remainder)}:${String(assertion)}:${broken}`;
  const mocha = spawn('sh', ['-c', `${suiteCommand} --reporter json --reporter-option output=${results}`], {
    cwd: root,
    env: {
      ...process.env,
      VFIO_DMABUF_TEST_BREAK,
      TMPDIR: temporary,
      PATH: [path.join(root, 'node_modules/.bin'), process.env['PATH']].join(path.delimiter),
    },
    stdio: ['ignore', 'ignore', 'ignore'],
    timeout: longest,
    killSignal: 'SIGKILL',
  });
  await once(mocha, 'close');
  const wrong: string[] = [];
  if (mocha.signalCode !== null || !existsSync(results)) return ['the run did not come to its end'];
  const { passes, failures } = JSON.parse(readFileSync(results, 'utf8')) as Results;
  const meant = new Set(titles(broken));
  for (const { fullTitle, err } of failures) {
    if (!meant.has(fullTitle)) wrong.push(`failed with the others: ${fullTitle}: ${err.message ?? ''}`);
  }
  for (const { fullTitle } of passes)
    if (meant.has(fullTitle)) wrong.push(`passed, though it was broken: ${fullTitle}`);
  for (const pid of left(VFIO_DMABUF_TEST_BREAK)) wrong.push(`process ${pid} is left`);
  for (const file of readdirSync(temporary)) wrong.push(`${file} is left in the temporary folder`);
  console.log(
    `assertion ${String(assertion)}, half ${String(remainder)}: ${String(failures.length)} failed of ${String(meant.size)} ` +
      `broken ones, ${String(passes.length)} passed`,
  );
  return failures.length === 0 ? ['no test was broken'] : wrong;
}

async function main(): Promise<number> {
  const chosen = process.argv.slice(2).map(Number);
  let faults = 0;
  try {
    for (const assertion of chosen.length > 0 ? chosen : [1]) {
      for (const remainder of [0, 1]) {
        const wrong = await run(remainder, assertion);
        for (const line of wrong) console.log(`FAULT: ${line}`);
        faults += wrong.length;
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.log(
    faults === 0 ? 'test:broken: a test that fails does so alone' : `test:broken: FAILED, ${String(faults)} faults`,
  );
  return faults === 0 ? 0 : 1;
}

exitWith(main());
