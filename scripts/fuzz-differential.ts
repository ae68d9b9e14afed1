// npm run fuzz:differential: random sequences of kernel calls on the fake kernel and on a real one in a virtual machine,
// outcome by outcome. A difference is shrunk and printed with the seed. --operations N, --seed S.
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { reference } from '../lib/fake';
import { firstDifference, show } from '../test/differential/compare';
import { sequence } from '../test/differential/operations';
import { perform, type Task } from '../test/differential/runner';
import { shrink } from '../test/differential/shrink';
import { exitWith } from './exit';
import { runInVm } from './vm/vm';

process.env['VFIO_DMABUF_KERNEL'] = 'fake';
const { values } = parseArgs({
  options: {
    operations: { type: 'string', short: 'n', default: '10000' },
    seed: { type: 'string', short: 's', default: String(Date.now() % 1_000_000) },
    /** The number of differences after which it gives up. */
    most: { type: 'string', default: '10' },
  },
});
const seed = Number(values.seed);
const length = 60;
const batch = 20;
/** Seconds within which the virtual machine answers. */
const patience = 120;

const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-fuzz-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
let ended: string | undefined;
let asked = 0;

function send(tasks: Task[] | null): string {
  const partial = join(folder, 'task');
  writeFileSync(partial, JSON.stringify(tasks));
  renameSync(partial, join(folder, `task-${String(asked)}.json`));
  return join(folder, `answer-${String(asked++)}.json`);
}

/** The outcomes of each task on the real kernel. */
async function onSystem(tasks: Task[]): Promise<string[][]> {
  const answer = send(tasks);
  for (let waited = 0; !existsSync(answer); waited += 10) {
    if (ended !== undefined) throw new Error(`the virtual machine ended: ${ended}`);
    if (waited > patience * 1000) throw new Error(`no answer to sequences ${JSON.stringify(tasks)}`);
    await sleep(10);
  }
  return JSON.parse(readFileSync(answer, 'utf8')) as string[][];
}

const operationsOf = (task: Task) => {
  const all = sequence(task.seed, task.number, task.length);
  return task.keep ? task.keep.flatMap((i) => all[i] ?? []) : all;
};

async function differs(task: Task): Promise<number> {
  const [system = []] = await onSystem([task]);
  return firstDifference(operationsOf(task), perform(task), system);
}

/** The call that differs, without what is not needed for it. The kind of a difference is its call and both outcomes. */
async function reproduce(task: Task, at: number): Promise<string> {
  const upTo = [...Array(at + 1).keys()];
  const keep = await shrink(upTo, async (part) => part.at(-1) === at && (await differs({ ...task, keep: part })) >= 0);
  const shrunk = { ...task, keep };
  const [fake, [system = []]] = [perform(shrunk), await onSystem([shrunk])];
  const lines = operationsOf(shrunk).map((operation, i) => {
    const outcome = fake[i] === system[i] ? (fake[i] ?? '') : `fake: ${fake[i] ?? ''} | kernel: ${system[i] ?? ''}`;
    return `    ${show(operation)} = ${outcome}`;
  });
  return `  seed ${String(seed)}, sequence ${String(task.number)}, operations ${keep.join(' ')}:\n${lines.join('\n')}`;
}

async function main(): Promise<number> {
  const vm = runInVm({
    machine: reference,
    command: ['node', '--require', './scripts/typescript.cjs', 'test/differential/guest.ts', folder],
    environment: { VFIO_DMABUF_KERNEL: 'system' },
    shared: folder,
    timeout: 24 * 3600,
  });
  vm.then(
    (status) => (ended = `status ${String(status)}`),
    (error: unknown) => (ended = String(error)),
  );
  const sequences = Math.ceil(Number(values.operations) / length);
  let differences = 0;
  let done = 0;
  for (let first = 0; first < sequences && differences < Number(values.most); first += batch) {
    const count = Math.min(batch, sequences - first);
    const tasks = Array.from({ length: count }, (_, i) => ({ seed, number: first + i, length }));
    const system = await onSystem(tasks);
    for (const [i, task] of tasks.entries()) {
      const at = firstDifference(operationsOf(task), perform(task), system[i] ?? []);
      done += length;
      if (at < 0 || differences >= Number(values.most)) continue;
      differences += 1;
      console.log(`DIFFERENCE ${String(differences)}\n${await reproduce(task, at)}`);
    }
  }
  send(null);
  await vm;
  console.log(`${String(done)} operations with seed ${String(seed)}: ${String(differences)} sequences differ`);
  return differences === 0 ? 0 : 1;
}

exitWith(main());
