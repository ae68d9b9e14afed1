// The kernel's names for errnos.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { errnoName } from '../../lib/addon/errno';

const headers = ['errno-base.h', 'errno.h'].map((name) => `/usr/include/asm-generic/${name}`);
// Names that stand for another one's number.
const aliases = ['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP'];

describe('errno names', () => {
  it('are the kernel headers’', function () {
    // A distribution's C library headers; and numbers that differ elsewhere are not what is tested here.
    if (!headers.every(existsSync) || constants.errno.ENOTEMPTY !== 39) return this.skip();
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

  it('exist for every number up to 133 that is in use, and fall back to the number', function () {
    if (constants.errno.ENOTEMPTY !== 39) return this.skip();
    const nameless = Array.from({ length: 133 }, (_, i) => i + 1).filter((n) => errnoName(n) === `E${n}`);
    assert.deepEqual(nameless, [41, 58], 'the numbers of EWOULDBLOCK and EDEADLOCK, long ago');
    assert.equal(errnoName(524), 'E524');
    for (const [number, name] of Object.entries({ 11: 'EAGAIN', 35: 'EDEADLK', 77: 'EBADFD', 95: 'EOPNOTSUPP' })) {
      assert.equal(errnoName(Number(number)), name);
    }
  });
});
