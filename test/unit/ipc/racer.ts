// Listens at many paths, one after the other, each at a moment that is told, and says what came of it.
//   TIME STEP COUNT PREFIX   listens at PREFIX0, PREFIX1, … at TIME (milliseconds since 1970), TIME + STEP, …
//   close                    closes the servers
import { createInterface } from 'node:readline';
import { FdServer } from '../../../lib';

const servers: FdServer[] = [];

function listen(time: number, path: string): string {
  while (Date.now() < time);
  try {
    servers.push(FdServer.listen(path));
    return 'listens';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

console.log('"ready"');
createInterface(process.stdin).on('line', (line) => {
  if (line === 'close') {
    for (const server of servers) server.close();
    console.log('"closed"');
    return;
  }
  const [time, step, count, prefix = ''] = line.split(' ');
  const outcomes = Array.from({ length: Number(count) }, (_, i) =>
    listen(Number(time) + i * Number(step), `${prefix}${String(i)}`),
  );
  console.log(JSON.stringify(outcomes));
});
