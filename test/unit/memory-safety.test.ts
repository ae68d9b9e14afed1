// No program can crash the process or touch freed memory, whatever it does. Each case has a process of its own: when that
// dies, the test fails, and says how.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { cases } from './memory-safety/cases';

const patience = 15_000;

describe('memory safety', function () {
  this.timeout(patience + 1000);

  for (const name of Object.keys(cases)) {
    it(name, (done) => {
      const args = ['--import', 'tsx', '--expose-gc', join(__dirname, 'memory-safety/child.ts'), name];
      const options = { timeout: patience, killSignal: 'SIGKILL' } as const;
      execFile(process.execPath, args, options, (error, stdout, stderr) => {
        if (!error) {
          done();
          return;
        }
        const end = error.signal ?? `exit code ${error.code}`;
        done(new assert.AssertionError({ message: `the process ended with ${end}\n${stdout}${stderr}` }));
      });
    });
  }
});
