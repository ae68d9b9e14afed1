// No program can crash the process or access freed memory. Each case runs in its own process. If that crashes, the test
// fails and prints how.
import assert from 'node:assert/strict';
import { execFile, type ExecFileException } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterwards } from '../cleanup';
import { itNeeds, openFiles, type Need } from '../needs';
import { typescript } from '../typescript';
import { cases } from './memory-safety/cases';

const patience = 25_000;

/** The needs of cases that open many files. */
const needs: Partial<Record<string, Need[]>> = {
  'closing everything while calls are under way': [openFiles(1024)],
};

describe('memory safety', function () {
  this.timeout(patience + 1000);

  for (const name of Object.keys(cases)) {
    itNeeds(needs[name] ?? [], name, async () => {
      const args = [...typescript, '--expose-gc', join(__dirname, 'memory-safety/child.ts'), name];
      const options = { timeout: patience, killSignal: 'SIGKILL' } as const;
      const ended = promisify(execFile)(process.execPath, args, options);
      afterwards(() => ended.child.kill('SIGKILL'));
      try {
        await ended;
      } catch (error) {
        const { signal, code, stdout, stderr } = error as ExecFileException & { stdout: string; stderr: string };
        assert.fail(`the process ended with ${signal ?? `exit code ${String(code)}`}\n${stdout}${stderr}`);
      }
    });
  }
});
