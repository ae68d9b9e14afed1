// Runs one kind of attack: child.ts KIND. It writes each step to standard error, so that a crash can be located.
import { writeSync } from 'node:fs';
import { kinds } from './kinds';

const name = process.argv[2] ?? '';
const kind = kinds[name];
if (!kind) throw new Error(`there is no kind '${name}'`);

process.exitCode = 2; // the status if it ends early
void (async () => {
  let wrong: string[];
  try {
    wrong = await kind((what) => writeSync(2, `${what}\n`));
  } catch (error) {
    wrong = [(error as Error).stack ?? String(error)];
  }
  if (wrong.length > 0) writeSync(2, `WRONG:\n${wrong.join('\n')}\n`);
  process.exit(wrong.length > 0 ? 1 : 0);
})();
