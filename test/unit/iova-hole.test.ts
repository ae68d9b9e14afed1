// Free ranges in an I/O address space.
import assert from 'node:assert/strict';
import { findHole } from '../../lib/vfio/iova-hole';

const page = 4096n;
const space = [
  { start: 0n, last: 0xfedf_ffffn },
  { start: 0xfef0_0000n, last: 0x7f_ffff_ffffn },
];

describe('the lowest hole', () => {
  it('never begins at 0', () => assert.equal(findHole(space, [], page), page));

  it('is between what is mapped, in whatever order that is told', () => {
    const taken = [
      { iova: 4n * page, length: page },
      { iova: page, length: page },
    ];
    assert.equal(findHole(space, taken, 2n * page), 2n * page);
    assert.equal(findHole(space, taken, 3n * page), 5n * page);
  });

  it('is in one range, and behind what reaches into that', () => {
    assert.equal(findHole(space, [], 0xfee0_0000n), 0xff00_0000n);
    assert.equal(findHole(space, [{ iova: 0n, length: 0xfff0_0000n }], page), 0xfff0_0000n);
  });

  it('is aligned for huge pages where there are any', () => assert.equal(findHole(space, [], 2n ** 21n), 2n ** 21n));

  it('is none where nothing is free', () => {
    assert.equal(findHole(space, [], 2n ** 39n), undefined);
    assert.equal(findHole([{ start: 0n, last: 3n * page - 1n }], [{ iova: page, length: page }], 2n * page), undefined);
    assert.equal(findHole([], [], page), undefined);
  });
});
