// Decoding of config space, both well-formed and malformed.
import assert from 'node:assert/strict';
import { pciCapabilities } from '../../../lib';

/** Config space that contains `parts`, in hexadecimal, at their offsets. */
function config(parts: Record<number, string>, size = 4096): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes[0x06] = 0x10; // has a capability list
  bytes[0x34] = 0x40;
  for (const [at, hex] of Object.entries(parts)) bytes.set(Buffer.from(hex, 'hex'), Number(at));
  return bytes;
}

/** Each capability's offset and kind. */
const kinds = (bytes: Uint8Array) => pciCapabilities(bytes).map(({ offset, type, name }) => [offset, type, name]);

describe('PCI capabilities', () => {
  it('are walked in the order of the list, and then the extended ones', () => {
    const bytes = config({
      0x40: '1180020003100000',
      0x80: '0950081234567890',
      0x50: '01000300',
      0x100: '0d000112',
      0x120: '0e000100',
    });
    assert.deepEqual(kinds(bytes), [
      [0x40, 'msi-x', 'msi-x'],
      [0x80, 'other', 'vendor'],
      [0x50, 'power-management', 'power-management'],
      [0x100, 'acs', 'acs'],
      [0x120, 'other', 'ari'],
    ]);
    assert.deepEqual(pciCapabilities(bytes)[1]?.bytes, new Uint8Array(Buffer.from('0950081234567890', 'hex')));
  });

  it('tell where the MSI-X table and its pending bits are', () => {
    const [msix] = pciCapabilities(config({ 0x40: '1100408004200000' + '0c300000' }));
    assert(msix?.type === 'msi-x');
    const { vectors, enabled, masked, table, pendingBits } = msix;
    assert.deepEqual([vectors, enabled, masked], [65, true, false]);
    assert.deepEqual(table, { bar: 4, offset: 0x2000, size: 65 * 16 });
    assert.deepEqual(pendingBits, { bar: 4, offset: 0x3008, size: 16 });
  });

  it('tell the sizes that a BAR can be resized to', () => {
    const [bars] = pciCapabilities(config({ 0x40: '0000', 0x100: '15000100' + '30000000' + '22010100' })).slice(-1);
    assert(bars?.type === 'resizable-bar');
    assert.deepEqual(bars.bars, [{ bar: 2, sizes: [1n << 20n, 1n << 21n, 1n << 48n], size: 1n << 21n }]);
  });

  it('tell what SR-IOV has', () => {
    const words =
      '1000' + '0100' + '00000000' + '09000000' + '0200' + '0400' + '0200' + '0000' + '0100' + '0200' + '00001053';
    const [vfs] = pciCapabilities(config({ 0x100: words })).slice(-1);
    assert(vfs?.type === 'sr-iov');
    const { enabled, memory, initialVfs, totalVfs, numVfs, firstOffset, stride, vfDevice } = vfs;
    assert.deepEqual([enabled, memory, initialVfs, totalVfs, numVfs], [true, true, 2, 4, 2]);
    assert.deepEqual([firstOffset, stride, vfDevice], [1, 2, 0x5310]);
  });

  it('tell which bits of access control there are, and which are on', () => {
    const [acs] = pciCapabilities(config({ 0x100: '0d000100' + '1f001d00' })).slice(-1);
    assert(acs?.type === 'acs');
    assert.deepEqual(acs.sourceValidation, { supported: true, enabled: true });
    assert.deepEqual(acs.translationBlocking, { supported: true, enabled: false });
    assert.deepEqual(acs.egressControl, { supported: false, enabled: false });
    assert.equal(acs.bytes.length, 8);
  });

  it('are none where there is no list', () => {
    assert.deepEqual(kinds(new Uint8Array(256)), []);
    assert.deepEqual(kinds(new Uint8Array(0)), []);
    assert.deepEqual(kinds(new Uint8Array(4096).fill(0xff)), []); // a device that was removed
  });

  it('end where the list runs in a circle or out of what can be read', () => {
    assert.equal(kinds(config({ 0x40: '0940' })).length, 1);
    assert.equal(kinds(config({ 0x40: '0950', 0x50: '0940' })).length, 2);
    assert.equal(kinds(config({ 0x40: '0904' })).length, 1);
    assert.equal(kinds(config({ 0x40: '0980' }, 0x60)).length, 1);
    assert.equal(kinds(config({ 0x40: '0000', 0x100: '0b000110' })).length, 2);
    assert.equal(kinds(config({ 0x40: '0000', 0x100: '0b0001ff', 0xff0: '0b000111', 0x110: '0b000110' })).length, 4);
    // Users other than root can only read 64 bytes of sysfs's file.
    assert.deepEqual(kinds(config({}, 64)), []);
  });

  it('that are cut short read as zeros behind the cut', () => {
    const [msix] = pciCapabilities(config({ 0x40: '1100ff07' }, 0x44));
    assert(msix?.type === 'msi-x');
    assert.deepEqual([msix.vectors, msix.table.offset, msix.bytes.length], [2048, 0, 4]);
  });

  it('are read through a function, too, which may have less than was asked for', () => {
    const bytes = config({ 0x40: '0500' });
    const read = (offset: number, length: number) => bytes.subarray(offset, offset + Math.min(length, 64));
    assert.deepEqual(pciCapabilities(read)[0]?.type, 'msi');
    assert.throws(() => pciCapabilities(() => 'no' as unknown as Uint8Array), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
