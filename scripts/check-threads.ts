// Runs Clang's thread-safety analysis over native/*/*.cc, by the rules written down with native/kernel/mutex.h, and lets
// Clang warn of what GCC does not see.
//
//   npm run check:threads [-- FILE...]      $CLANGXX names another clang++ than 19
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { cmakeJs, root } from './cmake';
import { exitWith } from './exit';
import { checkEach, findProgram, out } from './native-check';

const chosen = process.env['CLANGXX'];

/** The shell commands that compile each file, by file. */
function compileCommands(): Map<string, string> {
  const text = readFileSync(path.join(root, out, 'compile_commands.json'), 'utf8');
  const entries = JSON.parse(text) as { file: string; command: string }[];
  return new Map(entries.map(({ file, command }) => [file, command]));
}

async function main(files: readonly string[]): Promise<number> {
  const clang = findProgram(chosen, ['clang++-19', 'clang++']);
  if (clang === undefined) {
    console.error(
      chosen
        ? `check:threads: $CLANGXX (${chosen}) does not run.`
        : 'check:threads: clang++ 19 is not installed. On Debian and Ubuntu: apt-get install clang-19. ' +
            'Or name another version: CLANGXX=clang++-20 npm run check:threads',
    );
    return 1;
  }
  const configured = cmakeJs('configure', ['-O', out, '--silent']);
  if (configured !== 0) return configured;

  const commands = compileCommands();
  const argsFor = (file: string): string[] => {
    const command = commands.get(file);
    if (command === undefined) throw new Error(`${file} is not compiled`);
    // The same command by another compiler: its first word goes, and nothing is written.
    return ['-c', `exec '${clang}' ${command.replace(/^\S+ /, '')} -fsyntax-only -Wthread-safety -Werror`];
  };
  return checkEach('check:threads', 'sh', argsFor, files);
}

exitWith(main(process.argv.slice(2)));
