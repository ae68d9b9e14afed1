// Runs the steps up to a given one, and ends. A process reads its task from a line on stdin, so that it can be started
// early; a worker is terminated by its parent.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { FakeKernel, type FakeKernelToken } from '../../lib/fake';
import { live, type Life } from './life';

export type Way =
  | 'process.exit()'
  | 'an uncaught error'
  | 'an unhandled rejection'
  | 'SIGTERM'
  | 'SIGKILL'
  | 'process.exit() under a worker';

export interface Task {
  step: string;
  way: Way;
}

export interface WorkerTask {
  step: string;
  token?: FakeKernelToken;
}

/** The objects that are open at the end. */
export const held: Life[] = [];

async function work({ step, token }: WorkerTask): Promise<void> {
  setInterval(() => undefined, 60_000);
  held.push(await live(step, token && FakeKernel.attach(token)));
  parentPort!.postMessage(step);
}

const ends: Record<Exclude<Way, 'process.exit() under a worker'>, () => void> = {
  'process.exit()': () => process.exit(7),
  'an uncaught error': () =>
    process.nextTick(() => {
      throw new Error('the one that is wanted');
    }),
  'an unhandled rejection': () => void Promise.reject(new Error('the one that is wanted')),
  SIGTERM: () => process.kill(process.pid, 'SIGTERM'),
  SIGKILL: () => process.kill(process.pid, 'SIGKILL'),
};

async function run({ step, way }: Task): Promise<void> {
  if (way === 'process.exit() under a worker') {
    const worker = new Worker(__filename, { workerData: { step } satisfies WorkerTask });
    worker.once('message', () => {
      writeSync(1, 'lived');
      process.exit(7);
    });
    return;
  }
  held.push(await live(step, undefined));
  writeSync(1, 'lived');
  ends[way]();
}

if (isMainThread) {
  createInterface(process.stdin).once('line', (line) => void run(JSON.parse(line) as Task));
} else {
  void work(workerData as WorkerTask);
}
