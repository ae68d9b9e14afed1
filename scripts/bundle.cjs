// Bundles lib/ to JavaScript in dist/: a program loads a few files in a quarter of the time that one file for each
// source takes. The entry points, which are the package's two and the command line, share their modules, so that there
// is one copy of each class. tsc writes the declarations.
const { mkdirSync, rmSync, writeFileSync } = require('node:fs');
const { basename, dirname, join, resolve } = require('node:path');
const { buildSync, transformSync } = require('esbuild');

const checkout = resolve(__dirname, '..');
const target = 'es2022';

/** Writes CommonJS with a source map. */
function write(path, text) {
  const { code, map } = transformSync(text, {
    sourcefile: path,
    format: 'cjs',
    platform: 'node',
    target,
    sourcemap: 'external',
    sourcesContent: false,
  });
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${code}//# sourceMappingURL=${basename(path)}.map\n`);
  writeFileSync(`${path}.map`, map);
}

/** Writes an entry point that takes its exports from library.js. Node finds their names for `import` in this text. */
function writeEntry(folder, name, namespace, library) {
  const path = join(folder, name);
  const lines = Object.keys(library[namespace]).map((key) => `exports.${key} = ${namespace}.${key};\n`);
  mkdirSync(dirname(path), { recursive: true });
  const shared = `${'../'.repeat(name.split('/').length - 1) || './'}library.js`;
  writeFileSync(path, `'use strict';\nconst { ${namespace} } = require('${shared}');\n${lines.join('')}`);
}

/** Writes the bundles to a folder, whose content it deletes first. */
function bundle(folder) {
  rmSync(folder, { recursive: true, force: true });
  // esbuild shares modules only among ES modules, which write() converts. Without white space it leaves comments out,
  // and write() formats the code again.
  const { outputFiles } = buildSync({
    absWorkingDir: checkout,
    entryPoints: ['lib/cli/main.ts'],
    stdin: {
      contents: "export * as index from './lib/index'; export * as fake from './lib/fake';",
      resolveDir: checkout,
      sourcefile: 'lib/library.ts',
    },
    outbase: 'lib',
    outdir: folder,
    chunkNames: 'shared-[hash]',
    bundle: true,
    packages: 'external',
    splitting: true,
    minifyWhitespace: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target,
    sourcemap: 'inline',
    sourcesContent: false,
    logLevel: 'error',
  });
  for (const { path, text } of outputFiles) write(path.replace(/\bstdin\.js$/, 'library.js'), text);
  const library = require(join(folder, 'library.js'));
  writeEntry(folder, 'index.js', 'index', library);
  writeEntry(folder, 'fake/index.js', 'fake', library);
}

module.exports = { bundle };

if (require.main === module) bundle(join(checkout, 'dist'));
