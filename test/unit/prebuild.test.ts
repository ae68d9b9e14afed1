// The check of prebuilt addons: what they may need of the system that loads them.
import assert from 'node:assert/strict';
import path from 'node:path';

import { readNeeds } from '../../scripts/elf';
import { faults } from '../../scripts/prebuild';

const needs = (library: string, version: string) => ({
  arch: 'x64',
  libraries: [library],
  versions: [{ library, version }],
});

describe('the check of prebuilt addons', () => {
  it('reads what an addon needs', () => {
    const { arch, libraries, versions } = readNeeds(path.join(__dirname, '../../build/Release/vfio_dmabuf.node'));
    assert.equal(arch, process.arch);
    assert(libraries.some((library) => library.startsWith('libc.')));
    for (const { library } of versions) assert(libraries.includes(library), library);
  });

  it('accepts glibc 2.31, and nothing newer', () => {
    for (const version of ['GLIBC_2.2.5', 'GLIBC_2.17', 'GLIBC_2.31']) {
      assert.deepEqual(faults(needs('libc.so.6', version)), []);
    }
    for (const version of [
      'GLIBC_2.32',
      'GLIBC_2.31.1',
      'GLIBC_2.100',
      'GLIBC_3.0',
      'GLIBC_PRIVATE',
      'GLIBC_ABI_DT_RELR',
    ]) {
      assert.deepEqual(faults(needs('libc.so.6', version)), [`it needs ${version} of libc.so.6`]);
    }
  });

  it('accepts no other libraries, such as libstdc++', () => {
    const expected = ['it needs libstdc++.so.6', 'it needs GLIBCXX_3.4 of libstdc++.so.6'];
    assert.deepEqual(faults(needs('libstdc++.so.6', 'GLIBCXX_3.4')), expected);
    assert.deepEqual(faults(needs('libgcc_s.so.1', 'GCC_4.2.0')), []);
  });
});
