// How mocha runs the tests, by `npm test` and by hand.
const { availableParallelism } = require('node:os');

module.exports = {
  require: ['./scripts/typescript.cjs', './test/setup.ts'],
  timeout: 30_000,
  jobs: availableParallelism(), // with --parallel
  exit: true, // a run ends when its last test has, whatever a failed one has left open
  forbidOnly: true,
};
