// Runs one of Clang's programs on each C++ source with the command that CMake compiles it with: the common part of
// check-tidy.ts and check-threads.ts.
import { execFile, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';

import { cmakeJs, root } from './cmake';

/** The folder where CMake is configured, with compile_commands.json. */
export const out = 'build/check';

/** The program that the user chose, or else the first of `names` that is version 19; undefined: it does not run. */
export function findProgram(chosen: string | undefined, names: readonly string[]): string | undefined {
  return (chosen ? [chosen] : names).find((name) => {
    const { status, stdout } = spawnSync(name, ['--version'], { encoding: 'utf8' });
    return status === 0 && (chosen !== undefined || stdout.includes('version 19.'));
  });
}

/** Configures CMake, and reads the shell commands that compile the sources, by file. */
function compileCommands(): Map<string, string> {
  if (cmakeJs('configure', ['-O', out, '--silent', '--CDVFIO_DMABUF_JOINED=OFF']) !== 0)
    throw new Error('CMake cannot configure the build');
  const text = readFileSync(path.join(root, out, 'compile_commands.json'), 'utf8');
  const entries = JSON.parse(text) as { file: string; command: string }[];
  return new Map(entries.map(({ file, command }) => [file, command]));
}

/** Runs the program on one file and prints its output. Resolves to true if there was none. */
function checkOne(program: string, args: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(program, args, { cwd: root, maxBuffer: Infinity }, (error, stdout, stderr) => {
      // On success stderr only counts the warnings in headers of other projects.
      if (error) process.stderr.write(stdout.trim() ? stdout : stderr);
      resolve(!error);
    });
  });
}

/** Runs the program on each of the files, or of all sources, and prints a summary. Returns the exit code. */
export async function checkEach(
  title: string,
  program: string,
  argsFor: (file: string, command: string) => readonly string[],
  files: readonly string[],
): Promise<number> {
  const commands = compileCommands();
  const waiting = files.length > 0 ? files.map((file) => path.resolve(file)) : [...commands.keys()].sort();
  const total = waiting.length;
  let failed = 0;
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const command = commands.get(file);
      if (command === undefined) throw new Error(`${file} is not compiled`);
      if (!(await checkOne(program, argsFor(file, command)))) failed++;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  console.log(`${title}: ${total} files, ${failed === 0 ? 'clean' : `${failed} with warnings`}`);
  return failed === 0 ? 0 : 1;
}
