// Sends file descriptors to other processes and back, while some of those processes are killed. No fd may be lost or
// leaked.
//   node fds.js COUNT SEED        `node fds.js echo`: a client, which sends back what it receives
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, readdirSync } from 'node:fs';
import { DmaMemory, FdChannel, KernelError, type FdMessage } from '../../lib';

const perMessage = 40;
const perClient = 500;

/** Numbers from 0 to `below` - 1, the same for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const openFds = () => readdirSync('/proc/self/fd').length;

async function echo(): Promise<void> {
  using channel = FdChannel.fromFd(3);
  for await (const message of channel) {
    using _ = message;
    await channel.send(message.bytes, message.fds);
  }
}

/** Resolves to undefined when the client has exited. */
async function receive(channel: FdChannel): Promise<FdMessage | undefined> {
  try {
    return await channel.receive();
  } catch (error) {
    if (error instanceof KernelError && error.code === 'ECONNRESET') return undefined;
    throw error;
  }
}

interface Sums {
  sent: number;
  back: number;
  clients: number;
  killed: number;
}

/** Serves one client. Half of the clients are killed by SIGKILL. */
async function serve(
  memories: readonly DmaMemory[],
  inodes: ReadonlySet<number>,
  pick: ReturnType<typeof random>,
  sums: Sums,
): Promise<void> {
  const [mine, its] = FdChannel.pair();
  using channel = mine;
  const child = spawn(process.execPath, [__filename, 'echo'], { stdio: ['ignore', 'inherit', 'inherit', its.fd] });
  its.close();
  const exited = once(child, 'exit');
  const doomedAt = pick(2) === 0 ? pick(perClient) : Infinity;
  const awaited: number[] = [];
  let sent = 0;
  const sending = (async () => {
    try {
      while (sent < perClient) {
        const count = 1 + pick(perMessage);
        const fds = Array.from({ length: count }, () => memories[pick(memories.length)] ?? assert.fail());
        await channel.send(String(count), fds);
        awaited.push(count);
        sent += count;
        if (sent < doomedAt) continue;
        child.kill('SIGKILL');
        sums.killed += 1;
        break;
      }
    } catch (error) {
      if (!(error instanceof KernelError && ['EPIPE', 'ECONNRESET'].includes(error.code))) throw error;
    }
  })();
  for (let back = 0; back < sent || back < perClient;) {
    const message = await receive(channel);
    if (!message) break;
    using _ = message;
    const count = Number(Buffer.from(message.bytes).toString());
    assert.equal(message.fds.length, count, 'fds were lost');
    for (const { fd } of message.fds) assert(inodes.has(fstatSync(fd).ino), 'another fd came back');
    back += count;
    sums.back += count;
    if (sent >= perClient && back === sent) break;
  }
  await sending;
  channel.close();
  await exited;
  sums.sent += sent;
  sums.clients += 1;
}

async function main(count: number, seed: number): Promise<void> {
  const pick = random(seed);
  const memories = Array.from({ length: 10 }, () => DmaMemory.alloc(4096));
  const inodes = new Set(memories.map(({ fd }) => fstatSync(fd).ino));
  const sums: Sums = { sent: 0, back: 0, clients: 0, killed: 0 };
  await serve(memories, inodes, pick, { ...sums }); // opens what Node opens once per process
  const before = openFds();
  while (sums.back < count) await serve(memories, inodes, pick, sums);
  const after = openFds();
  console.log(
    `${String(sums.sent)} fds sent, ${String(sums.back)} came back; ${String(sums.killed)} of ${String(sums.clients)} clients killed; ` +
      `${String(before)} fds open before, ${String(after)} after`,
  );
  if (after !== before) process.exitCode = 1;
  console.log(after === before ? 'none leaked' : 'FAILED: fds were leaked');
  for (const memory of memories) memory.close();
}

const [, , first = '10000', second = '1'] = process.argv;
void (first === 'echo' ? echo() : main(Number(first), Number(second)));
