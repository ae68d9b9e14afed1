// MappedDmaBuf is a dma-buf's memory, mapped for the CPU.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { codedError, kernelCall } from '../errors/errors';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type MappingHandle } from '../addon/native';
import { bytes as toBytes, outOfRange, u64 } from '../errors/validate';

// The largest ArrayBuffer that every supported V8 version allows, in bytes.
const largest = 2n ** 32n;

/** A dma-buf's memory, mapped for the CPU. */
export class MappedDmaBuf extends Closable {
  /** The mapping's offset in the dma-buf, in bytes. */
  readonly offset: bigint;
  /** The length in bytes. */
  readonly length: bigint;
  readonly access: 'r' | 'rw';
  readonly #mapping: MappingHandle;
  readonly #gone: () => void;
  #buffer: ArrayBuffer | undefined;

  static readonly #end: End<MappedDmaBuf> = {
    what: 'mapped dma-buf',
    close: (mapped) => {
      native.mappingRetire(mapped.#mapping);
      mapped.#gone();
    },
  };

  static {
    shown(this, 'closed', 'offset', 'length', 'access');
  }

  /** @internal */
  constructor(made: Key, offset: bigint, length: bigint, access: 'r' | 'rw', mapping: MappingHandle, gone: () => void) {
    onlyInside(made, 'MappedDmaBuf', 'use DmaBuf#map()');
    super(MappedDmaBuf.#end);
    this.offset = offset;
    this.length = length;
    this.access = access;
    this.#mapping = mapping;
    this.#gone = gone;
  }

  #open(): MappingHandle {
    this.check();
    return this.#mapping;
  }

  /**
   * The memory. After close(), or if the exporter revokes the memory, every view of it reads zeros, also in other
   * threads and after a transfer.
   *
   * @throws Error ERR_READ_ONLY: mapped read-only; JavaScript has no read-only ArrayBuffer, use read().
   *   ERR_BUFFER_TOO_LARGE: more than 4 GiB; map a part.
   */
  get buffer(): ArrayBuffer {
    const mapping = this.#open();
    if (this.access === 'r') {
      throw codedError('ERR_READ_ONLY', 'mapped for reading only, which no ArrayBuffer can be: use read()');
    }
    if (this.length > largest) {
      throw codedError('ERR_BUFFER_TOO_LARGE', 'an ArrayBuffer has at most 4 GiB: map a part of the dma-buf');
    }
    this.#buffer ??= native.memoryBuffer(mapping);
    return this.#buffer;
  }

  /**
   * Copies memory at `offset`, in bytes from the mapping's start, into `array`. @throws RangeError: outside the
   * mapping.
   */
  read(offset: number | bigint, array: Uint8Array): void {
    const [mapping, target] = [this.#open(), toBytes(array, 'array')];
    const at = this.#at(offset, target);
    kernelCall({}, () => native.memoryRead(mapping, at, target));
  }

  /**
   * Copies `array` into memory at `offset`, in bytes from the mapping's start. @throws RangeError: outside the mapping.
   * Error ERR_READ_ONLY: mapped read-only.
   */
  write(offset: number | bigint, array: Uint8Array): void {
    const [mapping, source] = [this.#open(), toBytes(array, 'array')];
    const at = this.#at(offset, source);
    if (this.access === 'r') throw codedError('ERR_READ_ONLY', 'the dma-buf is mapped for reading only');
    kernelCall({}, () => native.memoryWrite(mapping, at, source));
  }

  #at(offset: number | bigint, array: Uint8Array): bigint {
    const at = u64(offset, 'offset', 0n, this.length);
    if (BigInt(array.length) > this.length - at) {
      throw outOfRange('array', `at most ${String(this.length - at)} bytes long here`, array.length);
    }
    return at;
  }
}
