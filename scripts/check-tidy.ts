// Runs clang-tidy (.clang-tidy) over native/*/*.cc with the commands that CMake would compile them with.
//
//   npm run check:tidy [-- FILE...]      $CLANG_TIDY names another clang-tidy than 19
import { execFile, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';

import { cmakeJs, root } from './cmake';

const out = 'build/cmake';

/** The first clang-tidy that may be used: other versions than 19 have other checks, so they must be asked for. */
function findClangTidy(): string | undefined {
  const chosen = process.env['CLANG_TIDY'];
  return (chosen ? [chosen] : ['clang-tidy-19', 'clang-tidy']).find((name) => {
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

/** Prints what clang-tidy has to say about one file. Resolves to whether that was nothing. */
function tidy(clangTidy: string, file: string): Promise<boolean> {
  return new Promise((resolve) => {
    execFile(clangTidy, ['--quiet', '-p', out, file], { cwd: root, maxBuffer: Infinity }, (error, stdout, stderr) => {
      // On success stderr only counts the warnings of other people's headers.
      if (error) process.stderr.write(stdout.trim() ? stdout : stderr);
      resolve(!error);
    });
  });
}

async function main(files: readonly string[]): Promise<number> {
  const clangTidy = findClangTidy();
  if (clangTidy === undefined) {
    console.error(
      process.env['CLANG_TIDY']
        ? `check:tidy: $CLANG_TIDY (${process.env['CLANG_TIDY']}) does not run.`
        : 'check:tidy: clang-tidy 19 is not installed. On Debian and Ubuntu: apt-get install clang-tidy-19. ' +
            'Or name another version: CLANG_TIDY=clang-tidy-20 npm run check:tidy',
    );
    return 1;
  }
  const configured = cmakeJs('configure', ['-O', out, '--silent']);
  if (configured !== 0) return configured;

  const waiting = files.length > 0 ? files.map((file) => path.resolve(file)) : sources();
  const total = waiting.length;
  let failed = 0;
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      if (!(await tidy(clangTidy, file))) failed++;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  console.log(`check:tidy: ${total} files, ${failed === 0 ? 'clean' : `${failed} with warnings`}`);
  return failed === 0 ? 0 : 1;
}

void main(process.argv.slice(2)).then((code) => (process.exitCode = code));
