// Compiles the checkout's TypeScript to JavaScript in build/plain, at the same paths. It serves the tests and their
// processes (typescript.cjs), processes that must start fast in the virtual machine, and worker threads. It does not
// check types; `npm run check:types` does.
const { mkdirSync, readdirSync, renameSync, statSync, writeFileSync } = require('node:fs');
const { basename, dirname, join, relative, resolve } = require('node:path');

const checkout = resolve(__dirname, '..');
const folders = ['lib', 'test', 'scripts', 'examples'];

function plain(source) {
  const name = relative(checkout, resolve(checkout, source));
  return join(checkout, 'build/plain', name.replace(/\.ts$/, '.js'));
}

function isStale(source) {
  const compiled = statSync(plain(source), { throwIfNoEntry: false });
  return compiled === undefined || compiled.mtimeMs < statSync(source).mtimeMs;
}

/** Writes a file that other processes may read at the same time. */
function write(path, text) {
  const partial = `${path}.${process.pid}`;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(partial, text);
  renameSync(partial, path);
}

function compile() {
  const stale = folders
    .flatMap((folder) => readdirSync(join(checkout, folder), { recursive: true }).map((name) => join(folder, name)))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(checkout, name))
    .filter(isStale);
  if (stale.length === 0) return;
  const { outputFiles } = require('esbuild').buildSync({
    absWorkingDir: checkout,
    entryPoints: stale,
    outbase: '.',
    outdir: 'build/plain',
    write: false,
    format: 'cjs',
    platform: 'node',
    target: 'es2022',
    supported: { 'dynamic-import': false }, // import() of TypeScript becomes require()
    sourcemap: 'external',
    sourcesContent: false,
    logLevel: 'error',
  });
  const texts = new Map(outputFiles.map((file) => [file.path, file.text]));
  for (const source of stale) {
    const path = plain(source);
    const map = { ...JSON.parse(texts.get(`${path}.map`)), sources: [basename(source)] };
    const url = `data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}`;
    write(path, `${texts.get(path)}//# sourceMappingURL=${url}\n`);
  }
}

module.exports = { compile, isStale, plain };
