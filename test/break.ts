// Makes tests fail on purpose, for scripts/test-broken.ts. With VFIO_DMABUF_TEST_BREAK=REMAINDER:ASSERTION:FILE, each
// test whose index in its file is REMAINDER modulo 2 fails at that assertion (1: the first), or at its end if it has
// fewer. The titles of these tests are appended to FILE.
import { appendFileSync } from 'node:fs';
import Module from 'node:module';
import type { Context } from 'mocha';

export const onPurpose = 'broken on purpose';

type Load = (request: string, ...rest: unknown[]) => unknown;

const assertModule = 'node:assert/strict';
const counts = new Map<string | undefined, number>();
/** The number of assertions until the current test fails; Infinity: it does not fail. */
let left = Infinity;

function countDown(): void {
  left -= 1;
  if (left === 0) throw new Error(onPurpose);
}

/** Wraps the assertions so that each call counts. */
function counted<T extends object>(assertions: T): T {
  const wrap = (member: unknown): unknown =>
    typeof member === 'function' && member.name !== 'AssertionError'
      ? new Proxy(member, {
          apply: (target, self, args: unknown[]): unknown => {
            countDown();
            return Reflect.apply(target as () => unknown, self, args);
          },
        })
      : member;
  return new Proxy(wrap(assertions) as T, { get: (target, name) => wrap(Reflect.get(target, name)) });
}

/** Returns a mocha hook that makes tests fail if the environment requests it. */
export function breakTests(): (this: Context) => void {
  const [remainder, assertion, file = ''] = (process.env['VFIO_DMABUF_TEST_BREAK'] ?? '').split(':');
  if (assertion === undefined) return () => undefined;
  const loader = Module as unknown as { _load: Load };
  const load = loader._load;
  let assertions: object | undefined;
  loader._load = function (request, ...rest) {
    const loaded = load(request, ...rest);
    return request === assertModule ? (assertions ??= counted(loaded as object)) : loaded;
  };
  return function () {
    const test = this.currentTest;
    left = Infinity;
    if (!test?.fn) return;
    const index = counts.get(test.file) ?? 0;
    counts.set(test.file, index + 1);
    if (index % 2 !== Number(remainder)) return;
    appendFileSync(file, `${JSON.stringify(test.fullTitle())}\n`);
    left = Number(assertion);
    const body = test.fn as (this: Context) => unknown;
    test.fn = async function (this: Context) {
      await body.call(this);
      if (left > 0) throw new Error(onPurpose);
    };
  };
}
