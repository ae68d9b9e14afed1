// docs/nvme-model.md is generated in the virtual machine; it must have every difference that the suite excepts.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { differences } from '../conformance/nvme-differences';

describe('docs/nvme-model.md', () => {
  it('lists the differences from QEMU, with their reasons', () => {
    const page = readFileSync(join(__dirname, '../../docs/nvme-model.md'), 'utf8');
    const rows = page
      .split('\n')
      .filter((line) => line.startsWith('| '))
      .map((line) => line.split('|').map((cell) => cell.trim()));
    const listed = rows.slice(2).map((cells) => [cells[1], cells[2], cells[5]]);
    assert.deepEqual(
      listed,
      differences.map(({ structure, field, reason }) => [structure, field, reason]),
    );
    for (const cells of rows.slice(2)) assert.notEqual(cells[3], '', cells.join(' '));
  });
});
