// Listens on the inherited fds 3 (a socket) and 4 (a pipe) by every method. Prints whether the files block before,
// during and after.
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { FdChannel, Kernel } from '../../../lib';
import { native } from '../../../lib/addon/native';
import { pollEvents, ready, Watch } from '../../../lib/events/poll';

const nonBlocking = 0o4000; // O_NONBLOCK

const blocks = () =>
  [3, 4].map((fd) => {
    const [, flags = ''] = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? [];
    return (parseInt(flags, 8) & nonBlocking) === 0;
  });

async function main(): Promise<void> {
  const seen = [blocks()];
  const watches = [3, 4].map((fd) => {
    const own = native.fdDuplicate(Kernel.system.handle, fd);
    return new Watch(own, pollEvents.readable, () => undefined);
  });
  await turn();
  seen.push(blocks());
  for (const watch of watches) watch.close();
  const given = AbortSignal.timeout(20);
  await ready(native.fdDuplicate(Kernel.system.handle, 4), pollEvents.readable, given).catch(() => undefined);
  seen.push(blocks());
  const channel = FdChannel.fromFd(3);
  await channel.receive({ signal: AbortSignal.timeout(20) }).catch(() => undefined);
  await channel.send(Buffer.from('x'));
  seen.push(blocks());
  channel.close();
  seen.push(blocks());
  console.log(JSON.stringify(seen));
  process.exit();
}

void main();
