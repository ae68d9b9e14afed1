import assert from 'node:assert/strict';
import { parseChain, regionCapabilities } from '../../lib/vfio/capabilities';

/** An info struct of 32 bytes with capabilities behind it. */
function info(...capabilities: { at: number; id: number; next: number; words?: number[] }[]) {
  const bytes = new Uint8Array(128);
  const view = new DataView(bytes.buffer);
  for (const { at, id, next, words = [] } of capabilities) {
    view.setUint16(at, id, true);
    view.setUint16(at + 2, 1, true);
    view.setUint32(at + 4, next, true);
    words.forEach((word, i) => {
      view.setUint32(at + 8 + 4 * i, word, true);
    });
  }
  return { flags: 0, capOffset: capabilities[0]?.at ?? 0, bytes };
}

describe('capability chains', () => {
  it('are empty where there is no first one', () => {
    assert.deepEqual(parseChain({ flags: 0, capOffset: 0, bytes: new Uint8Array(32) }), []);
  });

  it('are walked and decoded', () => {
    const sparse = { at: 32, id: 1, next: 72, words: [1, 0, 0x1000, 0, 0x2000, 0] };
    const type = { at: 72, id: 2, next: 96, words: [0x8000_8086, 3] };
    assert.deepEqual(regionCapabilities(info(sparse, type, { at: 96, id: 3, next: 0 })), [
      { type: 'sparse-mmap', areas: [{ offset: 0x1000n, size: 0x2000n }] },
      { type: 'type', regionType: 0x8000_8086, regionSubtype: 3, vendor: 0x8086, name: 'igd-lpc-config' },
      { type: 'msix-mappable' },
    ]);
  });

  it('keep the bytes of what they do not know', () => {
    const [capability] = regionCapabilities(info({ at: 32, id: 999, next: 0, words: [7] }));
    assert(capability?.type === 'unknown');
    assert.equal(capability.id, 999);
    assert.equal(capability.data[0], 7);
  });

  it('end where they loop or lead outside', () => {
    assert.equal(parseChain(info({ at: 32, id: 9, next: 32 })).length, 1);
    assert.equal(parseChain(info({ at: 32, id: 9, next: 4096 })).length, 1);
    assert.equal(parseChain(info({ at: 32, id: 9, next: 127 })).length, 1);
  });

  it('do not believe a count that is larger than the data', () => {
    const [capability] = regionCapabilities(info({ at: 32, id: 1, next: 0, words: [0xffff_ffff, 0] }));
    assert(capability?.type === 'sparse-mmap');
    assert.equal(capability.areas.length, 5);
  });
});
