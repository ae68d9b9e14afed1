// Listens at many paths in sequence, each at a given time, and prints the outcomes. Each line of its input is a JSON
// array:
//   [TIME, STEP, COUNT, PREFIX]   listens at PREFIX0, PREFIX1, … at TIME (milliseconds since 1970), TIME + STEP, …
//   []                            closes the servers
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
  const [time, step, count, prefix] = JSON.parse(line) as [number?, number?, number?, string?];
  if (time === undefined) {
    for (const server of servers) server.close();
    console.log('"closed"');
    return;
  }
  const outcomes = Array.from({ length: count ?? 0 }, (_, i) =>
    listen(time + i * (step ?? 0), `${prefix ?? ''}${String(i)}`),
  );
  console.log(JSON.stringify(outcomes));
});
