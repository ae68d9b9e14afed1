// The selection of clients when few slots are left.
import assert from 'node:assert/strict';
import { Slots } from '../../../lib/ipc/slots';

const own = process.geteuid?.() ?? 0;
const [alice, bob] = [own + 1001, own + 1002];

/** How many clients of this user are admitted in addition to `present`, of at most 100. */
function admitted(slots: Slots, uid: number, present: readonly number[] = []): number {
  const all = [...present];
  while (all.length - present.length < 100 && slots.refuse(uid, all) === undefined) all.push(uid);
  return all.length - present.length;
}

const many = (count: number, uid: number) => new Array<number>(count).fill(uid);

describe('the places of a server', () => {
  it('one user gets a quarter of them', () => {
    assert.equal(admitted(new Slots({}), alice), 16);
    assert.equal(admitted(new Slots({ clients: 8 }), alice), 2);
    assert.equal(admitted(new Slots({ clients: 1 }), alice), 1);
    assert.equal(admitted(new Slots({ clientsPerUser: 5 }), alice), 5);
  });

  it('many users together leave some to root and to the own user', () => {
    const slots = new Slots({});
    const crowd = Array.from({ length: 60 }, (_, i) => alice + i);
    assert.equal(slots.refuse(bob + 100, crowd), 'too many clients');
    assert.equal(admitted(slots, bob, many(58, alice)), 2);
    assert.equal(admitted(slots, 0, crowd), 4);
    assert.equal(admitted(slots, own, crowd), own === 0 ? 4 : 2);
  });

  it('root and the own user have no quota', () => {
    assert.equal(admitted(new Slots({}), 0), 64);
    assert.equal(admitted(new Slots({}), own), own === 0 ? 64 : 62);
  });

  it('says why', () => {
    assert.equal(new Slots({}).refuse(alice, many(16, alice)), `too many clients of user ${String(alice)}`);
    assert.equal(new Slots({}).refuse(0, many(64, alice)), 'too many clients');
  });

  it('refuses what cannot be', () => {
    for (const opts of [
      { clients: 0 },
      { clients: 1.5 },
      { clientsPerUser: 0 },
      { reserved: -1 },
      { clients: 4, reserved: 2 },
    ]) {
      assert.throws(() => new Slots(opts), { code: 'ERR_OUT_OF_RANGE' });
    }
  });
});
