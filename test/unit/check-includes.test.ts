// check:includes finds includes that the table of native/README.md does not allow, and files without a subject.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { faultsOf, readFloors } from '../../scripts/check-includes';

const floors = readFloors(readFileSync(path.join(__dirname, '../../native/README.md'), 'utf8'));
const faults = (file: string, include: string): string[] =>
  faultsOf(file, `// A subject.\n#include ${include}\n`, floors);

describe('check:includes', () => {
  it('allows what the table allows, the own folder, and system headers', () => {
    assert.deepEqual(faults('core/fd.h', '"kernel/kernel.h"'), []);
    assert.deepEqual(faults('core/fd.h', '"core/failure.h"'), []);
    assert.deepEqual(faults('core/fd.h', '<sys/mman.h>'), []);
    assert.deepEqual(faults('binding/call.h', '<napi.h>'), []);
  });

  it('finds an include that is turned round', () => {
    for (const [file, include] of [
      ['kernel/kernel.h', '"core/fd.h"'],
      ['core/fd.h', '"fake/fake_kernel.h"'],
      ['core/fd.h', '"binding/call.h"'],
      ['fake/fake_kernel.h', '"core/fd.h"'],
      ['fake/files/file.h', '"fake/dma_buf/fence.h"'],
      ['fake/iommu/pages.h', '"fake/vfio/bar_memory.h"'],
      ['fake/pci/pci_device.h', '"fake/mdev/mdev.h"'],
      ['fake/models/edu.cc', '"fake/fake_kernel.h"'],
    ] as const) {
      assert.match(faults(file, include).join(), /may not include/, `${file} includes ${include}`);
    }
  });

  it("finds Node's headers below binding", () => {
    for (const header of ['<napi.h>', '<node_api.h>', '<uv.h>', '"napi.h"']) {
      assert.match(faults('core/fd.h', header).join(), /may not include/, header);
    }
  });

  it('finds a folder without a row, and a file without a subject', () => {
    assert.match(faults('fake/misc/thing.h', '<string>').join(), /no row for fake\/misc/);
    assert.match(faultsOf('core/fd.h', '#pragma once\n', floors).join(), /does not begin with a comment/);
  });

  it('takes no table with a circle', () => {
    const table = '| `a` | Ground. | `b` |\n| `b` | Above. | |\n';
    assert.throws(() => readFloors(table), /a may include b, which is not above it/);
  });
});
