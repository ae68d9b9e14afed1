// MappedRegion: a mapped region, with register accesses of an exact width.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { kernelCall } from '../errors/errors';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type MappingHandle, type NativeRegisters, type RegisterArray } from '../addon/native';

/**
 * A region's registers, mapped into this process. Each call of an accessor makes exactly one access of its width on the
 * bus. Offsets are in bytes, relative to the start of the mapping, and must be multiples of the width.
 *
 * All accessors throw RangeError ERR_OUT_OF_RANGE: outside the mapping, misaligned, or a value that does not fit.
 * TypeError ERR_INVALID_ARG_TYPE. Error ERR_CLOSED: after close(). Error ERR_MEMORY_DISABLED: the device does not
 * decode memory (in reset, or with memory space off). Error ERR_READ_ONLY: a write to a read-only region.
 */
export class MappedRegion extends Closable {
  readonly region: Parents['Region'];
  /** The start of the mapping in the region, in bytes. */
  readonly offset: bigint;
  /** The length in bytes. */
  readonly length: bigint;
  /** One load of 8 bits. */
  readonly read8: (offset: number) => number;
  /** One load of 16 bits. */
  readonly read16: (offset: number) => number;
  /** One load of 32 bits. */
  readonly read32: (offset: number) => number;
  /** One load of 64 bits. */
  readonly read64: (offset: number) => bigint;
  /** One store of 8 bits. */
  readonly write8: (offset: number, value: number) => void;
  /** One store of 16 bits. */
  readonly write16: (offset: number, value: number) => void;
  /** One store of 32 bits. */
  readonly write32: (offset: number, value: number) => void;
  /** One store of 64 bits. */
  readonly write64: (offset: number, value: bigint | number) => void;
  /** Fills the array: one load of the element's width for each element, in ascending order. */
  readonly read: (offset: number, array: RegisterArray) => void;
  /** Writes the array: one store of the element's width for each element, in ascending order. */
  readonly write: (offset: number, array: RegisterArray) => void;
  readonly #mapping: MappingHandle;
  static readonly #end: End<MappedRegion> = {
    what: 'mapped region',
    close: (mapped) => {
      native.mappingRetire(mapped.#mapping);
      mapped.region.device.file.forget(mapped);
    },
  };

  static {
    shown(this, 'closed', ['region', ({ region }) => region.index], 'offset', 'length');
  }

  /** @internal */
  constructor(made: Key, region: Parents['Region'], offset: bigint, length: bigint, mapping: MappingHandle) {
    onlyInside(made, 'MappedRegion', 'use Region#map()');
    const access: NativeRegisters = kernelCall({}, () => native.registerAccess(mapping));
    super(MappedRegion.#end);
    this.region = region;
    this.offset = offset;
    this.length = length;
    this.#mapping = mapping;
    this.read8 = access.read8;
    this.read16 = access.read16;
    this.read32 = access.read32;
    this.read64 = access.read64;
    this.write8 = access.write8;
    this.write16 = access.write16;
    this.write32 = access.write32;
    this.write64 = access.write64;
    this.read = access.read;
    this.write = access.write;
  }
}
