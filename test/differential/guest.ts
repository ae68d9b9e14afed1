// Serves tasks in the virtual machine: reads task-N.json in the shared folder, writes answer-N.json. Ends at a task
// that is null.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { perform, type Task } from './runner';

const folder = process.argv[2] ?? '';
const pause = new Int32Array(new SharedArrayBuffer(4));

for (let n = 0; ; n += 1) {
  const file = join(folder, `task-${String(n)}.json`);
  while (!existsSync(file)) Atomics.wait(pause, 0, 0, 5);
  const tasks = JSON.parse(readFileSync(file, 'utf8')) as Task[] | null;
  if (!tasks) break;
  const partial = join(folder, 'answer');
  writeFileSync(partial, JSON.stringify(tasks.map(perform)));
  renameSync(partial, join(folder, `answer-${String(n)}.json`));
}
