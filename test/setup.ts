// The tests run on the fake kernel unless they are told otherwise, close what they opened, and can write down what they saw.
import { breakTests } from './break';
import { cleanUp } from './cleanup';
import { writeRecord } from './conformance/record';

process.env['VFIO_DMABUF_KERNEL'] ??= 'fake';

export const mochaHooks = { beforeEach: breakTests(), afterEach: cleanUp, afterAll: writeRecord };
