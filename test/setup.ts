// Setup of all tests: selects the fake kernel unless the environment selects another one, closes what the tests opened,
// and can record the tests' results.
import { breakTests } from './break';
import { cleanUp } from './cleanup';
import { writeRecord } from './conformance/record';

process.env['VFIO_DMABUF_KERNEL'] ??= 'fake';
// Names must not depend on what the machine has installed.
process.env['VFIO_DMABUF_PCI_IDS'] ??= '';

// With --parallel, mocha sends test results as JSON, and errors may contain bigints.
const bigints = BigInt.prototype as { toJSON?: () => string };
const beforeAll = () => {
  delete bigints.toJSON;
};
const afterAll = () => {
  bigints.toJSON = function (this: bigint) {
    return `${String(this)}n`;
  };
  writeRecord();
};

export const mochaHooks = { beforeAll, beforeEach: breakTests(), afterEach: cleanUp, afterAll };
