// Lets require() load the checkout's TypeScript: `node --require ./scripts/typescript.cjs FILE.ts`. Processes of tests
// start in half the time that they need with tsx.
const { readFileSync } = require('node:fs');
const Module = require('node:module');
const { join } = require('node:path');
const { compile, isStale, plain } = require('./compile.cjs');
const { paths } = require('../tsconfig.json').compilerOptions;

Module._extensions['.ts'] = (module, filename) => {
  if (isStale(filename)) compile();
  module._compile(readFileSync(plain(filename), 'utf8'), filename);
};

// The examples import the package by its name.
const resolve = Module._resolveFilename;
Module._resolveFilename = (request, ...rest) =>
  resolve(Object.hasOwn(paths, request) ? join(__dirname, '..', ...paths[request]) : request, ...rest);

process.setSourceMapsEnabled(true);
