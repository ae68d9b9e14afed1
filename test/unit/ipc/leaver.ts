// Receives a message on fd 3, lets go of what came, says so, and ends.
import { FdChannel } from '../../../lib';

async function main(): Promise<void> {
  using channel = FdChannel.fromFd(3);
  (await channel.receive())?.[Symbol.dispose]();
  console.log('closed');
}

void main();
