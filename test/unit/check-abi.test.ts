// check:abi finds differences from the kernel headers.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { compareAbi, parseHeader } from '../../scripts/check-abi';
import { temporaryFolder } from '../cleanup';
import { compiler, itNeeds } from '../needs';

// A kernel header with the difficult elements of the real ones: request codes that need another header's macros,
// enumerators, a sign bit, an unnamed union and a flexible array.
const kernelHeader = `
#include <linux/types.h>
#include <linux/ioctl.h>
#define THING_TYPE (';')
struct thing_info {
  __u32 argsz;
  __u32 flags;
#define THING_FLAG_LAST (1 << 31)
  union {
    __u64 address;
    struct { __u16 low, high; } part;
  };
  __u8 data[];
};
enum { THING_BAR0_INDEX, THING_BAR1_INDEX };
#define THING_GET_INFO _IOWR(THING_TYPE, 7, struct thing_info)
`;

const ourHeader = `
// A thing (linux/some-thing.h).
#pragma once
#include <cstdint>
namespace uapi {
using request_t = unsigned long;
constexpr request_t Request(unsigned type, unsigned number, unsigned long size) {
  return (3UL << 30) | (size << 16) | (type << 8) | number;
}
constexpr unsigned THING_TYPE = ';';
struct thing_info {
  uint32_t argsz;
  uint32_t flags;  // THING_FLAG_...
  union {
    uint64_t address;
    struct {
      uint16_t low;
      uint16_t high;
    } part;
  };
};
static_assert(sizeof(thing_info) == 16);
constexpr uint32_t THING_FLAG_LAST = 1U << 31;
constexpr uint32_t THING_BAR1_INDEX = 1;
constexpr request_t THING_GET_INFO = Request(THING_TYPE, 7, sizeof(thing_info));
}  // namespace uapi
`;

describe('check:abi', function () {
  this.timeout(20_000); // it runs a compiler

  let folder: string;
  beforeEach(() => {
    folder = temporaryFolder();
    mkdirSync(path.join(folder, 'ours/uapi'), { recursive: true });
    mkdirSync(path.join(folder, 'kernel/linux'), { recursive: true });
    writeFileSync(path.join(folder, 'kernel/linux/some-thing.h'), kernelHeader);
  });

  /** The reported differences when `before` in our header is replaced by `after`. */
  function differences(before = '', after = ''): string[] {
    assert.ok(ourHeader.includes(before));
    writeFileSync(path.join(folder, 'ours/uapi/some_thing.h'), ourHeader.replace(before, after));
    const [report] = compareAbi(path.join(folder, 'ours'), path.join(folder, 'kernel'));
    assert.ok(report);
    return report.differences;
  }

  itNeeds([compiler], 'finds equal headers identical and counts what it compared', () => {
    writeFileSync(path.join(folder, 'ours/uapi/some_thing.h'), ourHeader);
    assert.deepEqual(compareAbi(path.join(folder, 'ours'), path.join(folder, 'kernel')), [
      { header: 'some_thing.h', structs: 1, fields: 6, constants: 4, differences: [] },
    ]);
  });

  itNeeds([compiler], 'sees a wrong constant, and each request code made of it', () =>
    assert.deepEqual(differences(`THING_TYPE = ';'`, `THING_TYPE = ':'`), [
      'THING_TYPE is 0x3a here, 0x3b in the kernel',
      'THING_GET_INFO is 0xc0103a07 here, 0xc0103b07 in the kernel',
    ]),
  );

  itNeeds([compiler], 'sees a wrong enumerator', () =>
    assert.deepEqual(differences('THING_BAR1_INDEX = 1', 'THING_BAR1_INDEX = 2'), [
      'THING_BAR1_INDEX is 0x2 here, 0x1 in the kernel',
    ]),
  );

  itNeeds([compiler], 'sees fields that changed places though the size is the same', () =>
    assert.deepEqual(
      differences('uint32_t argsz;\n  uint32_t flags;', 'uint32_t flags;\n  uint32_t argsz;').map((line) =>
        line.slice(0, line.indexOf(' ')),
      ),
      ['thing_info.flags', 'thing_info.argsz'],
    ),
  );

  itNeeds([compiler], 'sees a field of another size, down in an unnamed union', () =>
    assert.deepEqual(differences('uint16_t high', 'uint32_t high'), [
      'thing_info.part is 8 bytes at offset 8 here, 4 bytes at offset 8 in the kernel',
      'thing_info.part.high is 4 bytes at offset 12 here, 2 bytes at offset 10 in the kernel',
    ]),
  );

  itNeeds([compiler], 'sees names that the kernel lacks: a field, a constant, a struct', () => {
    assert.deepEqual(differences('uint16_t low;', 'uint16_t lower;'), [
      'thing_info.part.lower is 2 bytes at offset 8 here, not there in the kernel',
    ]);
    assert.deepEqual(differences('THING_BAR1_INDEX', 'THING_BAR9_INDEX'), [
      'THING_BAR9_INDEX is 0x1 here, not there in the kernel',
    ]);
    assert.deepEqual(differences('}  // namespace', 'struct thing_new {\n  uint8_t one;\n};\n}  // namespace'), [
      'thing_new is 1 bytes here, not there in the kernel',
      'thing_new.one is 1 bytes at offset 0 here, not there in the kernel',
    ]);
  });

  it('is an error when the kernel folder lacks the header', () => {
    rmSync(path.join(folder, 'kernel/linux/some-thing.h'));
    assert.throws(() => differences(), /has no linux\/some-thing\.h to compare with/);
  });

  it('skips no declaration that it cannot read', () => {
    for (const declaration of ['enum thing { ONE };', 'struct thing {\n  int bits : 3;\n};', '#define THING 1\n']) {
      assert.throws(
        () => parseHeader('thing.h', `namespace uapi {\n${declaration}\n}`),
        /thing\.h: check-abi cannot read/,
      );
    }
  });
});
