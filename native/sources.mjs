// The list of sources: prints the .cc files below the named folders of native/, one a line. binding.gyp and
// CMakeLists.txt read it; the scripts read the compile commands that CMake writes.
//
//   node native/sources.mjs kernel core
import { readdirSync } from 'node:fs';
import { argv, stdout } from 'node:process';
import { fileURLToPath, URL } from 'node:url';

const native = fileURLToPath(new URL('.', import.meta.url));
for (const folder of argv.slice(2)) {
  const files = readdirSync(native + folder, { recursive: true }).filter((file) => file.endsWith('.cc'));
  stdout.write(
    files
      .map((file) => `native/${folder}/${file}\n`)
      .sort()
      .join(''),
  );
}
