// Bundles lib/ to JavaScript in dist/. A program loads a few files in a fraction of the time that one file for each
// source takes, and loads the parts of the package that it uses. The parts share their modules, so that there is one copy
// of each class. tsc writes the declarations.
const { mkdirSync, rmSync, writeFileSync } = require('node:fs');
const { basename, dirname, join, resolve } = require('node:path');
const { build, transformSync } = require('esbuild');

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

/**
 * Writes dist/index.js. It loads a part of the package when one of the part's exports is first used. Node finds the names
 * for `import` in the last line.
 */
function writeIndex(folder) {
  const parts = ['core', 'host', 'peers', 'topology'];
  const names = (part) => Object.keys(require(join(folder, `${part}.js`)));
  const text = `'use strict';
require('./runtime.js');
function late(names, load) {
  for (const name of names) {
    const get = () => {
      const value = load()[name];
      Object.defineProperty(exports, name, { value, enumerable: true });
      return value;
    };
    Object.defineProperty(exports, name, { get, enumerable: true, configurable: true });
  }
}
${parts.map((part) => `late(${JSON.stringify(names(part))}, () => require('./${part}.js'));`).join('\n')}
0 && (module.exports = { ${parts.flatMap(names).join(', ')} });
`;
  writeFileSync(join(folder, 'index.js'), text);
}

/** A `require()` in lib/ of a part of the package stays one. */
const late = {
  name: 'late',
  setup: (build) =>
    build.onResolve({ filter: /^\./ }, ({ kind, path }) =>
      kind === 'require-call' ? { path: `./${basename(path)}.js`, external: true } : undefined,
    ),
};

/** Writes the bundles to a folder, whose content it deletes first. */
async function bundle(folder) {
  rmSync(folder, { recursive: true, force: true });
  // esbuild shares modules only among ES modules, which write() converts. Without white space it leaves comments out,
  // and write() formats the code again.
  const { outputFiles } = await build({
    absWorkingDir: checkout,
    entryPoints: {
      runtime: 'lib/addon/runtime.ts',
      core: 'lib/entry/core.ts',
      host: 'lib/entry/host.ts',
      peers: 'lib/entry/peers.ts',
      topology: 'lib/entry/topology.ts',
      fakes: 'lib/entry/fakes.ts',
      'fake/index': 'lib/fake/index.ts',
      'cli/main': 'lib/cli/main.ts',
    },
    outdir: folder,
    chunkNames: 'shared-[hash]',
    bundle: true,
    packages: 'external',
    plugins: [late],
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
  for (const { path, text } of outputFiles) write(path, text.replace(/\b__require\(("[.][^"]*")\)/g, 'require($1)'));
  writeIndex(folder);
}

module.exports = { bundle };

if (require.main === module) bundle(join(checkout, 'dist'));
