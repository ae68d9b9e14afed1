// Runs Clang's thread-safety analysis on the C++ sources, by the annotations of native/kernel/mutex.h, and shows
// Clang's own warnings.
//
//   npm run check:threads [-- FILE...]      $CLANGXX names another clang++ than 19
import { exitWith } from './exit';
import { checkEach, findProgram } from './native-check';

const chosen = process.env['CLANGXX'];

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
  // The same command with another compiler as its first word, and without output files.
  const argsFor = (_file: string, command: string): string[] => {
    return ['-c', `exec '${clang}' ${command.replace(/^\S+ /, '')} -fsyntax-only -Wthread-safety -Werror`];
  };
  return checkEach('check:threads', 'sh', argsFor, files);
}

exitWith(main(process.argv.slice(2)));
