// Interrupts in bursts from software, and one by one from a device, with a listener on every vector. None may be lost,
// and the event loop must not block.
//   node interrupts.js COUNT
import { EventEmitter, once } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as turn } from 'node:timers/promises';
import { Iommufd, VfioDevice, type InterruptIndex } from '../../lib';
import { addressOf, FakeKernel, reference } from '../../lib/fake';

const count = Number(process.argv[2]);
const kernel = process.env['VFIO_DMABUF_KERNEL'] === 'system' ? undefined : new FakeKernel();
/** The share of interrupts that the engine sends. Each is a message across the bus. */
const share = 0.1;
const burst = 64;
const longestSilence = 2000; // milliseconds that the event loop may be blocked

const raise = 0x60; // edu: a write raises an interrupt
const acknowledge = 0x64;

const heard = new EventEmitter();

/** Adds up the counts of a vector, until the index is disabled. */
async function sum(index: InterruptIndex, vector: number, sums: bigint[]): Promise<void> {
  for await (const come of index.listen(vector)) {
    sums[vector] = (sums[vector] ?? 0n) + come;
    heard.emit('count');
  }
}

function flags(length: number, seed: number): boolean[] {
  return Array.from({ length }, (_, vector) => (((seed * 2654435761) >>> (vector % 31)) & 1) === 1);
}

/** Triggers up to `most` interrupts from software, by several kinds of calls. Returns the number for each vector. */
async function trigger(index: InterruptIndex, most: number): Promise<number[]> {
  const vectors = index.vectors.length;
  const made = new Array<number>(vectors).fill(0);
  let left = most;
  const make = (vector: number) => {
    made[vector] = (made[vector] ?? 0) + 1;
    left -= 1;
  };
  for (let call = 0; left > 0; call += 1) {
    const chosen = flags(vectors, call);
    if (call % 3 === 0 && chosen.filter(Boolean).length <= left) {
      index.trigger(0, chosen);
      for (const [vector, on] of chosen.entries()) if (on) make(vector);
    } else if (call % 3 === 1 && left >= vectors) {
      index.trigger(0, vectors);
      for (let vector = 0; vector < vectors; vector += 1) make(vector);
    } else {
      index.trigger(call % vectors);
      make(call % vectors);
    }
    if (call % burst === 0) await turn();
  }
  return made;
}

/**
 * Makes the device send interrupts, each after the previous one was counted. An interrupt controller has one pending
 * bit for each message and no count, so interrupts that arrive before the first is handled become one.
 */
async function send(device: VfioDevice, most: number): Promise<number[]> {
  const { write32 } = device.region(0).map();
  for (let i = 1; i <= most; i += 1) {
    const came = once(heard, 'count', { signal: AbortSignal.timeout(longestSilence) });
    write32(raise, 1);
    write32(acknowledge, 1);
    await came;
  }
  return [most];
}

async function main(): Promise<void> {
  const address = (role: string) => kernel?.addressOf(role) ?? addressOf(reference, role);
  await using iommufd = Iommufd.open(kernel && { kernel });
  await using ssd = await VfioDevice.open(address('ssd'), { iommufd });
  await using engine = await VfioDevice.open(address('engine'), { iommufd });
  engine.command.memory = true;
  engine.command.busMaster = true;
  const fromDevice = Math.round(count * share);
  const storms: [string, InterruptIndex, (index: InterruptIndex) => Promise<number[]>][] = [
    ['from software, MSI-X', ssd.interrupts.msix, (index) => trigger(index, count - fromDevice)],
    ['from the device, MSI', engine.interrupts.msi, () => send(engine, fromDevice)],
  ];
  for (const [title, index, storm] of storms) {
    index.enable();
    const sums: bigint[] = [];
    const listening = index.vectors.map((vector) => sum(index, vector, sums));
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const start = performance.now();
    const made = await storm(index);
    index.disable(); // listeners receive the pending counts first
    await Promise.all(listening);
    const took = (performance.now() - start) / 1000;
    delay.disable();
    const wrong = made.flatMap((times, vector) => {
      const got = sums[vector] ?? 0n;
      return got === BigInt(times) ? [] : [`vector ${String(vector)}: ${String(times)} raised, ${String(got)} came`];
    });
    const total = made.reduce((all, times) => all + times, 0);
    const silence = delay.max / 1e6;
    console.log(
      `${title}: ${String(total)} raised on ${String(made.length)} vectors in ${took.toFixed(1)} s, ` +
        `${String(sums.reduce((all, come) => all + come, 0n))} came; the event loop was silent for ${silence.toFixed(0)} ms at most`,
    );
    for (const line of wrong) console.log(`FAILED: ${line}`);
    if (silence > longestSilence) console.log('FAILED: the event loop was silent for too long');
    if (wrong.length > 0 || silence > longestSilence) process.exitCode = 1;
  }
  if (process.exitCode === undefined) console.log('none lost');
}

void main();
