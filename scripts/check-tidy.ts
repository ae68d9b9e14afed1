// Runs clang-tidy (.clang-tidy) on the C++ sources with the commands that CMake compiles them with.
//
//   npm run check:tidy [-- FILE...]      $CLANG_TIDY names another clang-tidy than 19
import { exitWith } from './exit';
import { checkEach, findProgram, out } from './native-check';

const chosen = process.env['CLANG_TIDY'];

async function main(files: readonly string[]): Promise<number> {
  // Versions other than 19 have other checks, so the user must choose them explicitly.
  const clangTidy = findProgram(chosen, ['clang-tidy-19', 'clang-tidy']);
  if (clangTidy === undefined) {
    console.error(
      chosen
        ? `check:tidy: $CLANG_TIDY (${chosen}) does not run.`
        : 'check:tidy: clang-tidy 19 is not installed. On Debian and Ubuntu: apt-get install clang-tidy-19. ' +
            'Or name another version: CLANG_TIDY=clang-tidy-20 npm run check:tidy',
    );
    return 1;
  }
  return checkEach('check:tidy', clangTidy, (file) => ['--quiet', '-p', out, file], files);
}

exitWith(main(process.argv.slice(2)));
