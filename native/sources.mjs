// The list of sources: prints the .cc files below the named folders of native/, one a line. binding.gyp and
// CMakeLists.txt read it; the scripts read the compile commands that CMake writes.
//
//   node native/sources.mjs kernel core             each file
//   node native/sources.mjs --joined kernel core    files in build/joined that include several of these
//
// Most of the compiler's time goes to headers. Joined, the addon compiles in a third of the time.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { argv, stdout } from 'node:process';
import { fileURLToPath, URL } from 'node:url';

const native = fileURLToPath(new URL('.', import.meta.url));
const joinedFolder = fileURLToPath(new URL('../build/joined/', import.meta.url));

/** Folders whose files are compiled alone: files of several devices have the same names for different registers. */
const alone = ['kernel', 'fake/models', 'fake/mdev'];

/** The lines of code in a joined file: small enough for several cores and for a rebuild after a change. */
const linesOfJoined = 1000;

function sourcesBelow(folder) {
  const files = readdirSync(native + folder, { recursive: true }).filter((file) => file.endsWith('.cc'));
  return files.map((file) => `${folder}/${file}`).sort();
}

/** Divides the files of one folder into lists of about the same number of lines. */
function divide(files) {
  const lines = new Map(files.map((file) => [file, readFileSync(native + file, 'utf8').split('\n').length]));
  const total = [...lines.values()].reduce((sum, count) => sum + count, 0);
  const share = total / Math.ceil(total / linesOfJoined);
  const lists = [];
  let before = 0;
  for (const file of files) {
    const index = Math.floor(before / share);
    (lists[index] ??= []).push(file);
    before += lines.get(file);
  }
  return lists.filter(Boolean);
}

/** Writes a file unless it has this content, so that make does not compile it again. */
function write(file, content) {
  try {
    if (readFileSync(file, 'utf8') === content) return;
  } catch {
    mkdirSync(dirname(file), { recursive: true });
  }
  writeFileSync(file, content);
}

function join(files) {
  const folders = new Map();
  for (const file of files) folders.set(dirname(file), [...(folders.get(dirname(file)) ?? []), file]);
  return [...folders].flatMap(([folder, files]) => {
    if (alone.includes(folder)) return files.map((file) => `native/${file}`);
    return divide(files).map((list, index) => {
      if (list.length === 1) return `native/${list[0]}`;
      const name = `${folder.replaceAll('/', '_')}_${index + 1}.cc`;
      write(joinedFolder + name, list.map((file) => `#include "${file}"\n`).join(''));
      return `build/joined/${name}`;
    });
  });
}

const joined = argv[2] === '--joined';
const files = argv.slice(joined ? 3 : 2).flatMap(sourcesBelow);
const list = joined ? join(files) : files.map((file) => `native/${file}`);
stdout.write(list.map((file) => `${file}\n`).join(''));
