// npm run test:strangers: programs that others wrote, on the fake machine (`vfio-dmabuf run`). Prints a table, and fails if
// one fails. test/long/run/strangers.test.ts has the programs of pciutils and DPDK.
//   VFIO_DMABUF_BZIMAGE         the kernel of the guest, and of the virtual machine for the comparison
//   VFIO_DMABUF_KERNEL_SOURCE   a source tree of Linux, for the kernel's self-tests
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { exitWith } from './exit';
import { guestRows } from './strangers/guest';
import { failed, passed, type Row } from './strangers/row';
import { selftestRows } from './strangers/selftests';

/** The unit tests with programs of pciutils, DPDK and Python. */
function unitRows(): Row[] {
  const mocha = join(__dirname, '../node_modules/mocha/bin/mocha.js');
  const { stdout } = spawnSync(process.execPath, [mocha, '--reporter', 'json', 'test/long/run/strangers.test.ts'], {
    cwd: join(__dirname, '..'),
    encoding: 'utf8',
  });
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as Record<
    'passes' | 'failures' | 'pending',
    { title: string; err: { message?: string } }[]
  >;
  const name = 'pciutils, DPDK, Python';
  return [
    ...report.passes.map(({ title }) => passed(name, title)),
    ...report.pending.map(({ title }): Row => ({ program: name, what: title, outcome: 'skipped' })),
    ...report.failures.map(({ title, err }) => failed(name, title, err.message ?? '')),
  ];
}

async function main(): Promise<number> {
  const rows = [...unitRows(), ...guestRows(), ...(await selftestRows())];
  const width = Math.max(...rows.map(({ program }) => program.length));
  for (const { program, what, outcome, reason } of rows) {
    console.log(`${outcome.padEnd(8)}${program.padEnd(width + 2)}${what}${reason === undefined ? '' : `: ${reason}`}`);
  }
  const count = (wanted: Row['outcome']) => rows.filter(({ outcome }) => outcome === wanted).length;
  console.log(
    `${String(count('passed'))} passed, ${String(count('failed'))} failed, ${String(count('skipped'))} skipped`,
  );
  return count('failed') === 0 ? 0 : 1;
}

exitWith(main());
