// A check of each file in native/ by a program of Clang's, with the commands that CMake would compile them with: what
// check-tidy.ts and check-threads.ts have in common.
import { execFile, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';

import { root } from './cmake';

/** Where CMake is configured, and leaves compile_commands.json. */
export const out = 'build/cmake';

/** The first of some programs that may be used: what the user chose, or one of version 19. */
export function findProgram(chosen: string | undefined, names: readonly string[]): string | undefined {
  return (chosen ? [chosen] : names).find((name) => {
    const { status, stdout } = spawnSync(name, ['--version'], { encoding: 'utf8' });
    return status === 0 && (chosen !== undefined || stdout.includes('version 19.'));
  });
}

function sources(): string[] {
  const native = path.join(root, 'native');
  return readdirSync(native, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.cc'))
    .map((file) => path.join(native, file))
    .sort();
}

/** Prints what the program has to say about one file. Resolves to whether that was nothing. */
function checkOne(program: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(program, args, { cwd: root, maxBuffer: Infinity }, (error, stdout, stderr) => {
      // On success stderr only counts the warnings of other people's headers.
      if (error) process.stderr.write(stdout.trim() ? stdout : stderr);
      resolve(!error);
    });
  });
}

/** Runs the program on each of the files, or of all, and prints a summary. Returns the exit code. */
export async function checkEach(
  title: string,
  program: string,
  argsFor: (file: string) => readonly string[],
  files: readonly string[],
): Promise<number> {
  const waiting = files.length > 0 ? files.map((file) => path.resolve(file)) : sources();
  const total = waiting.length;
  let failed = 0;
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      if (!(await checkOne(program, argsFor(file)))) failed++;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  console.log(`${title}: ${total} files, ${failed === 0 ? 'clean' : `${failed} with warnings`}`);
  return failed === 0 ? 0 : 1;
}
