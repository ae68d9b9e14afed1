// `vfio-dmabuf run`: programs in C++ on a fake machine.
import assert from 'node:assert/strict';
import { itNeeds } from '../../needs';
import { canRun, compile, output } from './programs';

describe('vfio-dmabuf run: a program', function () {
  this.timeout(120_000);

  itNeeds(canRun, 'accesses registers with every kind of instruction', () => {
    assert.equal(output(compile('registers')), 'done\n');
  });
  itNeeds(canRun, 'lets a device reach memory of every kind', () => {
    const kinds = output(compile('dma')).trim().split('\n');
    assert.deepEqual(kinds.slice(0, 6), ['shared', 'private', 'heap', 'data', 'stack', 'file, private']);
  });
});
