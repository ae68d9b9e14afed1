// npm run test:release: slow tests that seldom fail, to run by hand before a release. `.ci/run` runs shorter forms.
import { spawnSync } from 'node:child_process';

import { root } from './cmake';

const soaks = ['--cycles 1000000', '--interrupts 100000', '--fds 10000', '--threads 4 --seconds 60'];
const commands = [
  ...soaks.flatMap((soak) => [`npm run soak -- ${soak}`, `npm run soak -- ${soak.replace('1000000', '50000')} --vm`]),
  'npm run test:broken -- 1 2 3 1000000',
  'npm run test:failures -- --every-code',
  'npm run test:node',
];

const failed = commands.filter((command) => {
  console.log(`=== ${command}`);
  return spawnSync('sh', ['-c', command], { cwd: root, stdio: 'inherit' }).status !== 0;
});
for (const command of failed) console.log(`FAILED: ${command}`);
console.log(`${String(commands.length - failed.length)} of ${String(commands.length)} commands passed`);
process.exitCode = failed.length === 0 ? 0 : 1;
