// An access to memory that was removed does not end the process, even if other code handles SIGBUS, too. Other code's
// bus errors go to its own handlers. Each case has its own process.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { typescript } from '../typescript';

const patience = 20_000;

interface End {
  signal: string | undefined;
  lines: string[];
}

function live(name: string): Promise<End> {
  const args = [...typescript, join(__dirname, 'bus-error/child.ts'), name];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { timeout: patience, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      const lines = stdout.split('\n').filter((line) => line);
      if (error && !error.signal) reject(new Error(stderr));
      else resolve({ signal: error?.signal, lines });
    });
  });
}

describe('SIGBUS', function () {
  this.timeout(patience + 1000);

  const guarded = { signal: undefined, lines: ['guarded'] };
  const ends: Record<string, End> = {
    'nobody listens': guarded,
    'a listener comes before': guarded,
    'a listener comes after': guarded,
    'a listener comes before and goes after': guarded,
    'listeners come and go': guarded,
    'a worker that mapped has ended': guarded,
    'a signal that is sent is heard': { signal: undefined, lines: ['heard', 'heard', 'guarded'] },
    'a signal that is sent is heard by whoever came before': { signal: undefined, lines: ['heard', 'guarded'] },
    'a signal that is sent ends the process when nobody listens': { signal: 'SIGBUS', lines: [] },
  };
  for (const [name, end] of Object.entries(ends)) {
    it(name, async () => {
      assert.deepEqual(await live(name), end);
    });
  }
});
