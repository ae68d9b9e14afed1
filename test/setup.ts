// The tests run on the fake kernel unless they are told otherwise, and can write down what they saw.
import { writeRecord } from './conformance/record';

process.env['VFIO_DMABUF_KERNEL'] ??= 'fake';

export const mochaHooks = { afterAll: writeRecord };
