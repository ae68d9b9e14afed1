// Kernel calls with any arguments, on the kernel that the tests run on. The arguments' memory has the same address in
// every process, so that structs with pointers are equal on all kernels.
import { constants as files } from 'node:fs';
import { constants } from 'node:os';
import { native } from '../lib/addon/native';
import { defaultKernel } from '../lib/kernel/default-kernel';

/** The address and the size of {@link memory}. The pages around it are not mapped. */
export const base = 0x2000_0000_0000n;
export const size = 1 << 20;

let buffer: Buffer | undefined;

function missing(): never {
  throw new Error('this addon has no raw calls');
}

/** The memory at {@link base}. */
export function memory(): Buffer {
  buffer ??= Buffer.from((native.rawMemory ?? missing)());
  return buffer;
}

/** A negated errno as its name, any other result as a number. */
export type Result = number | string;

const names = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));
// linux/errno.h: not in Node's list
names.set(77, 'EBADFD').set(524, 'ENOTSUPP').set(512, 'ERESTARTSYS').set(95, 'EOPNOTSUPP').set(11, 'EAGAIN');

/** The calls that return an fd, and the requests of ioctl() that do: VFIO_GROUP_GET_DEVICE_FD, VFIO_DEVICE_FEATURE. */
const opening = ['open', 'dup', 'eventfd', 'memfd_create'];
const openingRequests = [0x3b6a, 0x3b75];

/** What is open and mapped: fds, and the lengths of mappings by their addresses. */
const fds = new Set<number>();
const mappings = new Map<number, number | bigint>();

function follow(name: string, args: readonly (number | bigint)[], result: number): void {
  const [first = 0, second = 0] = args;
  if (result < 0) return;
  if (name === 'close') fds.delete(Number(first));
  else if (name === 'munmap') mappings.delete(Number(first));
  else if (name === 'mmap') mappings.set(result, first);
  else if (opening.includes(name) || (name === 'ioctl' && openingRequests.includes(Number(second)) && result > 2))
    fds.add(result);
}

export function call(name: string, ...args: (number | bigint)[]): Result {
  const words = BigUint64Array.from(args, (arg) => BigInt.asUintN(64, BigInt(arg)));
  const result = Number((native.rawCall ?? missing)(defaultKernel().handle, name, words));
  follow(name, args, result);
  return result < 0 ? (names.get(-result) ?? `errno ${String(-result)}`) : result;
}

/** Unmaps and closes what a case that failed has left. */
export function cleanUp(): void {
  for (const [address, length] of [...mappings]) call('munmap', address, length);
  for (const fd of [...fds]) call('close', fd);
}

/** Little-endian words: 32 bits each, or 64 bits for bigints. */
export function words(...values: (number | bigint)[]): Buffer {
  return Buffer.concat(
    values.map((value) => {
      const part = Buffer.alloc(typeof value === 'bigint' ? 8 : 4);
      if (typeof value === 'bigint') part.writeBigUInt64LE(BigInt.asUintN(64, value));
      else part.writeUInt32LE(value >>> 0);
      return part;
    }),
  );
}

/** Where arguments are. What an argument points to may be behind it. */
export const argumentAt = 0x1000;

/** Makes a request. The kernel's answer replaces `bytes`. */
export function ioctl(fd: number, request: number, bytes: Buffer): Result {
  memory().set(bytes, argumentAt);
  const result = call('ioctl', fd, request, base + BigInt(argumentAt));
  memory().copy(bytes, 0, argumentAt, argumentAt + bytes.length);
  return result;
}

/** The address of bytes that are put `offset` bytes after the start of {@link memory}. */
export function at(offset: number, bytes: Uint8Array = new Uint8Array()): bigint {
  memory().set(bytes, offset);
  return base + BigInt(offset);
}

export function open(path: string, flags = files.O_RDWR): Result {
  return call('open', at(0, Buffer.from(`${path}\0`)), flags);
}
