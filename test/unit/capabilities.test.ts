// The decoders of VFIO's capability chains.
import assert from 'node:assert/strict';
import { deviceCapabilities, parseChain, regionCapabilities } from '../../lib/vfio/capabilities';

/** An info struct of 32 bytes, followed by capabilities. */
function info(...capabilities: { at: number; id: number; next: number; words?: number[] }[]) {
  const bytes = new Uint8Array(128);
  const view = new DataView(bytes.buffer);
  for (const { at, id, next, words = [] } of capabilities) {
    view.setUint16(at, id, true);
    view.setUint16(at + 2, 1, true);
    view.setUint32(at + 4, next, true);
    words.forEach((word, i) => view.setUint32(at + 8 + 4 * i, word, true));
  }
  return { flags: 0, capOffset: capabilities[0]?.at ?? 0, bytes };
}

describe('capability chains', () => {
  it('are empty where there is no first one', () =>
    assert.deepEqual(parseChain({ flags: 0, capOffset: 0, bytes: new Uint8Array(32) }), []));

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

  it('of a device tell which atomic operations it completes', () =>
    assert.deepEqual(deviceCapabilities(info({ at: 32, id: 5, next: 0, words: [0b101] })), [
      { type: 'pci-atomic-completion', sizes: [32, 128] },
    ]));

  it('of an s390 function tell what their version has', () => {
    const words = [1, 2, 3, 4, 0x0006_0005, 0x0908_0007, 10, 11];
    const base = (version: number) => {
      const told = info({ at: 32, id: 1, next: 0, words });
      told.bytes[34] = version;
      return deviceCapabilities(told)[0];
    };
    const common = {
      ...{
        type: 'zpci-base',
        startDma: 0x2_0000_0001n,
        endDma: 0x4_0000_0003n,
        physicalChannel: 5,
        virtualFunction: 6,
      },
      ...{ measurementBlockLength: 7, functionType: 8, group: 9 },
    };
    assert.deepEqual(base(1), { ...common, version: 1, functionHandle: undefined, errorLength: undefined });
    assert.deepEqual(base(2), { ...common, version: 2, functionHandle: 10, errorLength: undefined });
    assert.deepEqual(base(3), { ...common, version: 3, functionHandle: 10, errorLength: 11 });

    const group = { at: 32, id: 2, next: 0, words: [1, 0, 2, 0, 1, 0, 0x0004_0003, 0x0006_0005, 0x7] };
    const [decoded] = deviceCapabilities(info(group));
    assert(decoded?.type === 'zpci-group');
    const { dmaMask, msiAddress, refresh, measurementInterval, interrupts, maxStoreBlock, pciVersion } = decoded;
    assert.deepEqual([dmaMask, msiAddress, refresh], [1n, 2n, true]);
    assert.deepEqual([measurementInterval, interrupts, maxStoreBlock, pciVersion], [3, 4, 5, 6]);

    const [text] = deviceCapabilities(info({ at: 32, id: 3, next: 0, words: [3, 0x0043_4241] }));
    assert(text?.type === 'zpci-utility-string');
    assert.equal(Buffer.from(text.bytes).toString('latin1'), 'ABC');
  });

  it('that are too short to decode keep their bytes', () => {
    const told = info({ at: 32, id: 1, next: 48 }, { at: 48, id: 2, next: 0 });
    assert.equal(deviceCapabilities({ ...told, bytes: told.bytes.subarray(0, 60) })[0]?.type, 'unknown');
    assert.equal(deviceCapabilities({ ...told, bytes: told.bytes.subarray(0, 60) })[1]?.type, 'unknown');
  });
});
