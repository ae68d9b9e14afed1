// The kernel's names of errno values.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { errnoName } from '../../lib/addon/errno';
import { errnoHeaders, itNeeds, type Need } from '../needs';

const headers = ['errno-base.h', 'errno.h'].map((name) => `/usr/include/asm-generic/${name}`);
/** Some architectures have errno values of their own. */
const genericNumbers: Need = () =>
  constants.errno.ENOTEMPTY === 39 ? undefined : 'this architecture has errno numbers of its own';
// Names that are aliases of other names.
const aliases = ['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP'];

describe('errno names', () => {
  itNeeds([genericNumbers, errnoHeaders], 'are those of the kernel’s headers', () => {
    const text = headers.map((path) => readFileSync(path, 'utf8')).join('');
    const defined = [...text.matchAll(/^#define\s+(E\w+)\s+(\d+)/gm)];
    assert(defined.length > 130);
    for (const [, name, number] of defined) assert.equal(errnoName(Number(number)), name);
  });

  it('are Node’s wherever Node has one', () => {
    for (const [name, number] of Object.entries(constants.errno)) {
      if (!aliases.includes(name)) assert.equal(errnoName(number), name);
    }
  });

  itNeeds([genericNumbers], 'exist for every number up to 133 that is in use, and fall back to the number', () => {
    const nameless = Array.from({ length: 133 }, (_, i) => i + 1).filter((n) => errnoName(n) === `E${n}`);
    assert.deepEqual(nameless, [41, 58], 'the numbers of EWOULDBLOCK and EDEADLOCK, long ago');
    assert.equal(errnoName(524), 'E524');
    for (const [number, name] of Object.entries({ 11: 'EAGAIN', 35: 'EDEADLK', 77: 'EBADFD', 95: 'EOPNOTSUPP' })) {
      assert.equal(errnoName(Number(number)), name);
    }
  });
});
