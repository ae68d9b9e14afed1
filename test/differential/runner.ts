// Runs sequences of operations on this process's kernel, each from a clean state.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { addressOf, reference } from '../../lib/fake';
import { defaultKernel } from '../../lib/kernel/default-kernel';
import { groupOf } from '../conformance/container-rig';
import { call, memory } from '../raw';
import { dataAt, path, sequence, slotCount, structAt, type Operation, type Value } from './operations';

/** A sequence, by its number, and the operations of it that are run: default all. */
export interface Task {
  seed: number;
  number: number;
  length: number;
  keep?: number[];
}

const wide = 64;

class Run {
  readonly #fds: number[] = Array<number>(slotCount).fill(-1);
  readonly #mappings: number[] = [];

  #number(value: Value): number | bigint {
    return typeof value === 'object' ? (this.#fds[value.slot] ?? -1) : value;
  }

  #put(slot: number, fd: number): void {
    const before = this.#fds[slot] ?? -1;
    this.#fds[slot] = fd;
    if (before >= 0) call('close', before);
  }

  /** Returns the outcome as a text that is equal on all kernels. */
  run(operation: Operation): string {
    const { on, into, field, struct, data, node, reads } = operation;
    const bytes = memory();
    bytes.fill(0, structAt, structAt + 512);
    bytes.fill(0, dataAt, dataAt + 512);
    if (data) bytes.set(data, dataAt);
    if (node) bytes.set(path(nodePath(node)), dataAt);
    let end = structAt;
    for (const value of struct ?? []) {
      const number = this.#number(value);
      if (typeof number === 'bigint') end = bytes.writeBigUInt64LE(BigInt.asUintN(64, number), end);
      else end = bytes.writeUInt32LE(number >>> 0, end);
    }
    const given = Buffer.from(bytes.subarray(structAt, end));
    const args = operation.args.map((arg) => this.#number(arg));
    const fd = on === undefined ? [] : [this.#fds[on] ?? -1];
    if (operation.call === 'close') this.#fds[on ?? 0] = -1;
    if (operation.call === 'mmap') return this.#map(fd[0] ?? -1, args);
    const result = call(operation.call, ...fd, ...args);
    let text = String(result);
    if (typeof result === 'number' && into !== undefined) {
      this.#put(into, result);
      text = 'fd';
    }
    if (field && result === 0) {
      this.#put(field.into, bytes.readUInt32LE(structAt + field.offset));
      bytes.writeUInt32LE(0, structAt + field.offset);
    }
    if (operation.call === 'fstat') return `${text} ${bytes.toString('hex', dataAt + 25, dataAt + 26)}`;
    const answer = bytes.subarray(structAt, end);
    if (struct && !answer.equals(given)) text += ` ${difference(given, answer)}`;
    if (reads && result !== 'EFAULT') text += ` ${bytes.toString('hex', dataAt, dataAt + wide)}`;
    return text;
  }

  #map(fd: number, [length = 0, protection = 0, flags = 0, offset = 0]: (number | bigint)[]): string {
    const result = call('mmap', length, protection, flags, fd, offset);
    if (typeof result === 'string') return result;
    this.#mappings.push(result);
    return 'address';
  }

  end(): void {
    for (const address of this.#mappings) call('munmap', address, 4096);
    for (const fd of this.#fds) if (fd >= 0) call('close', fd);
  }
}

/** The 32-bit words that the kernel changed. */
function difference(before: Buffer, after: Buffer): string {
  const changed: string[] = [];
  for (let at = 0; at + 4 <= after.length; at += 4) {
    const value = after.readUInt32LE(at);
    if (value !== before.readUInt32LE(at)) changed.push(`+${String(at)}=${value.toString(16)}`);
  }
  return changed.join(' ');
}

function nodePath({ role, group }: { role: string; group: boolean }): string {
  if (group) return `/dev/vfio/${String(groupOf(role))}`;
  const folder = join(defaultKernel().sysfs, 'bus/pci/devices', addressOf(reference, role), 'vfio-dev');
  return `/dev/vfio/devices/${readdirSync(folder)[0] ?? ''}`;
}

export function perform({ seed, number, length, keep }: Task): string[] {
  const operations = sequence(seed, number, length);
  const run = new Run();
  try {
    return (keep ?? [...operations.keys()]).map((i) => run.run(operations[i]!));
  } finally {
    run.end();
  }
}
