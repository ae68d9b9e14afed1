// Receives a message on fd 3, closes the received fds, prints a line, and exits.
import { FdChannel } from '../../../lib';

async function main(): Promise<void> {
  using channel = FdChannel.fromFd(3);
  (await channel.receive())?.[Symbol.dispose]();
  console.log('closed');
}

void main();
