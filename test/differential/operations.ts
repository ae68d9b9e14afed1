// Generates random sequences of kernel calls. A sequence is determined by its seed and number. Its calls refer to files
// by slots and to memory by fixed addresses, so each call means the same on every kernel.
import { addressOf, reference } from '../../lib/fake';
import { base, words } from '../raw';
import { Random } from './random';

/** A number, or the fd in a slot. */
export type Value = number | bigint | { slot: number };

export interface Operation {
  call: string;
  /** The arguments after the fd. */
  args: Value[];
  /** The slot of the fd that the call is made on. */
  on?: number;
  /** An argument's struct, which is put at the address `structAt`: 32-bit numbers, 64-bit bigints, and fds. */
  struct?: Value[];
  /** Bytes that the struct points to, at `dataAt`. */
  data?: Buffer;
  /** The result is an fd, and goes into this slot. */
  into?: number;
  /** Where the struct has an fd after success; it goes into this slot. */
  field?: { offset: number; into: number };
  /** The group or the device of a node to open. */
  node?: { role: string; group: boolean };
  /** The bytes at `dataAt` are compared, up to the call's result. */
  reads?: boolean;
}

export const structAt = 0x1000;
export const dataAt = 0x4000;
/** Memory that IOMMU_IOAS_MAP maps. */
const userAt = 0x1_0000;

const slots = { iommufd: 0, other: 1, devices: [2, 3, 4, 5], container: 6, group: 7, udmabuf: 8, heap: 9 } as const;
const memfds = [10, 11];
const eventfds = [12, 13];
const dmaBufs = [14, 15, 16, 17];
const copies = [18, 19];
const roles = ['engine', 'ssd', 'display', 'ports'] as const;
const paths = { 0: '/dev/iommu', 1: '/dev/iommu', 6: '/dev/vfio/vfio', 8: '/dev/udmabuf', 9: '/dev/dma_heap/system' };
export const slotCount = 20;

const page = 4096n;
const all = (1n << 64n) - 1n;
const pointer = base + BigInt(dataAt);
const nowhere = 0x1000n;
const device = { attach: 0x3b77, bind: 0x3b76 } as const;

const ioctl = (on: number, request: number, struct: Value[], more: Partial<Operation> = {}): Operation => ({
  call: 'ioctl',
  on,
  args: [request, base + BigInt(structAt)],
  struct,
  ...more,
});

export const path = (text: string) => Buffer.from(`${text}\0`);

function openSlot(slot: number): Operation {
  const index = slots.devices.indexOf(slot as 2);
  const open = { call: 'open', args: [pointer, 2], into: slot };
  if (index >= 0) return { ...open, node: { role: roles[index] ?? '', group: false } };
  if (slot === slots.group) return { ...open, node: { role: 'twin1', group: true } };
  if (memfds.includes(slot)) return { call: 'memfd_create', args: [pointer, 3], into: slot, data: path('memory') };
  if (eventfds.includes(slot)) return { call: 'eventfd', args: [0, 0x800], into: slot };
  return { ...open, data: path(paths[slot as 0]) };
}

/** The usual start of a program. Each call is left out at times. */
function start(): Operation[] {
  const { iommufd } = slots;
  const opened = [iommufd, ...slots.devices, slots.udmabuf, slots.heap, ...memfds, ...eventfds].map(openSlot);
  return [
    ...opened,
    ...memfds.map((slot) => ({ call: 'ftruncate', on: slot, args: [0x1_0000] })),
    { call: 'seal', on: 10, args: [2] },
    ...slots.devices.map((slot) => ioctl(slot, device.bind, [16, 0, { slot: iommufd }, 0])),
    ioctl(iommufd, 0x3b81, [12, 0, 0]),
    ioctl(iommufd, 0x3b81, [12, 0, 0]),
    ioctl(2, device.attach, [12, 0, 5]),
    ioctl(3, 0x3b75, [40, (1 << 16) | 11, 2, 0, 0, 1, 0n, 0x2000n], { into: 14 }),
    ioctl(slots.udmabuf, 0x4018_7542, [{ slot: 10 }, 1, 0n, 0x4000n], { into: 15 }),
  ];
}

class Generator {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  next(): Operation {
    const r = this.#random;
    const kinds = [
      ...Array<() => Operation>(10).fill(() => this.#iommufd()),
      ...Array<() => Operation>(8).fill(() => this.#device()),
      ...Array<() => Operation>(3).fill(() => this.#region()),
      () => this.#buffer(),
      () => this.#buffer(),
      () => this.#group(),
      () => this.#file(),
      () => this.#file(),
    ];
    const operation = r.pick(kinds)();
    if (operation.struct && r.oneIn(12)) this.#mutate(operation.struct);
    if (operation.call === 'ioctl' && operation.struct && r.oneIn(60)) operation.args[1] = nowhere;
    return operation;
  }

  #mutate(struct: Value[]): void {
    const i = this.#random.below(struct.length);
    const value = struct[i];
    const edges = [
      0n,
      1n,
      2n,
      0x7fff_ffffn,
      0x8000_0000n,
      0xffff_ffffn,
      all,
      1n << 63n,
      BigInt(this.#random.below(256)),
    ];
    const edge = this.#random.pick(edges);
    struct[i] = typeof value === 'bigint' ? edge : Number(BigInt.asUintN(32, edge));
  }

  #id = () => (this.#random.oneIn(12) ? this.#random.pick([0, 99, 0xffff_ffff]) : 1 + this.#random.below(9));
  #ioas = () => (this.#random.oneIn(5) ? this.#id() : this.#random.pick([5, 5, 5, 6]));
  #iova = () =>
    this.#random.oneIn(6)
      ? this.#random.pick([0n, all, 0xfee0_0000n, (1n << 39n) - page, 1n << 39n, 0x800n, all - 4095n])
      : 0x10_0000n + page * BigInt(this.#random.below(16));
  #length = () =>
    this.#random.oneIn(6)
      ? this.#random.pick([0n, 1n, all, 0x800n, 1n << 40n, all - 4095n])
      : page * BigInt(1 + this.#random.below(4));
  #flags = (most: number) => (this.#random.oneIn(8) ? this.#random.below(most * 4) : this.#random.below(most));
  #pointer = () => (this.#random.oneIn(15) ? nowhere : pointer);
  #anyFd = (): Value => ({ slot: this.#random.below(slotCount) });

  #iommufd(): Operation {
    const r = this.#random;
    const on = r.oneIn(15) ? slots.other : slots.iommufd;
    const data = words(0x10_0000n, 0x11_ffffn, 0x20_0000n, 0x2f_ffffn, 0n, 0n);
    const map = r.oneIn(5) ? 2 : 6;
    const fixed = r.below(2) | map;
    const space = this.#ioas();
    return r.pick<() => Operation>([
      () => ioctl(on, 0x3b81, [12, r.oneIn(8) ? 1 : 0, 0]),
      () => ioctl(on, 0x3b80, [8, this.#id()]),
      () => ioctl(on, 0x3b82, [24, space, r.below(3), 0, this.#pointer()], { data }),
      () => ioctl(on, 0x3b84, [32, space, r.below(4), 0, this.#pointer(), 0n], { reads: true }),
      () =>
        ioctl(on, 0x3b85, [
          40,
          fixed,
          space,
          0,
          base + BigInt(userAt + 4096 * r.below(4)),
          this.#length(),
          this.#iova(),
        ]),
      () =>
        ioctl(on, 0x3b8f, [
          40,
          fixed,
          space,
          { slot: r.pick(memfds) },
          page * BigInt(r.below(4)),
          this.#length(),
          this.#iova(),
        ]),
      () =>
        ioctl(on, 0x3b8f, [40, fixed, space, { slot: r.pick(dmaBufs) }, page * BigInt(r.below(2)), page, this.#iova()]),
      () => ioctl(on, 0x3b8f, [40, fixed, space, this.#anyFd(), 0n, this.#length(), this.#iova()]),
      () => ioctl(on, 0x3b83, [40, fixed, this.#ioas(), space, this.#length(), this.#iova(), this.#iova()]),
      () => ioctl(on, 0x3b86, [24, space, this.#iova(), this.#length()]),
      () => ioctl(on, 0x3b86, [24, space, 0n, all]),
      () => ioctl(on, 0x3b87, [24, r.below(3), r.below(3), r.oneIn(3) ? 0 : space, BigInt(r.below(3))]),
      () => ioctl(on, 0x3b88, [12, space, r.below(4)]),
      () => ioctl(on, 0x3b89, [48, this.#flags(4), 1 + r.below(4), space, 0, 0, 0, 0, 0n, 0, 0]),
      () => ioctl(on, 0x3b8a, [40, r.oneIn(8) ? 1 : 0, this.#id(), 24, this.#pointer(), 0, 0, 0n], { reads: true }),
      () => ioctl(on, 0x3b8b, [16, r.below(3), this.#id(), 0]),
      () => ioctl(on, 0x3b8c, [48, this.#id(), r.below(2), 0, this.#iova(), this.#length(), page, pointer]),
      () => ioctl(on, 0x3b92, [8, 0]),
      () => ioctl(on, 0x3b90, [40, 0, r.below(3), this.#id(), this.#id(), 0, 0, 0, 0n]),
      () => ioctl(on, 0x3b91, [24, this.#id(), this.#id(), 0, 0n]),
      () => ioctl(on, 0x3b8d, [32, this.#id(), this.#pointer(), r.below(2), 8, r.below(2), 0]),
      () => ({ call: 'ioctl', on, args: [0x3b65, r.below(12)] }),
      () => ({ call: 'ioctl', on, args: [0x3b66, r.below(5)] }),
      () => ioctl(on, 0x3b70, [r.pick([16, 24, 40, 88, 104, 120]), 0, 0n, 0, 0, ...Array<bigint>(14).fill(0n)]),
      () => ioctl(on, 0x3b71, [32, this.#flags(4), base + BigInt(userAt), this.#iova(), this.#length()]),
      () => ioctl(on, 0x3b72, [24, this.#flags(4), this.#iova(), this.#length()]),
      () =>
        ioctl(on, 0x3b80 + r.below(0x16), [
          r.pick([0, 4, 8, 12, 16, 24, 32, 40, 48, 64]),
          ...Array<number>(20).fill(0),
        ]),
    ])();
  }

  #device(): Operation {
    const r = this.#random;
    const on = r.pick(slots.devices);
    const feature = (size: number, operation: number, number: number, ...payload: Value[]) =>
      ioctl(on, 0x3b75, [8 + size, (operation << 16) | number, ...payload]);
    const region = () => r.pick([0, 0, 1, 2, 2, 2, 5, 6, 7, 8, 9]);
    return r.pick<() => Operation>([
      () => ioctl(on, 0x3b6b, [r.pick([20, 24, 16, 15, 64]), 0, 0, 0, 0, 0, ...Array<number>(10).fill(0)]),
      () => ioctl(on, 0x3b6c, [r.pick([32, 31, 40, 64]), 0, r.below(12), 0, 0n, 0n, ...Array<bigint>(4).fill(0n)]),
      () => ioctl(on, 0x3b6d, [16, 0, r.below(7), 0]),
      () =>
        ioctl(on, 0x3b6e, [
          24,
          r.pick([0x21, 0x22, 0x24, 0x24, 0x09, 0x11]),
          r.below(5),
          r.below(2),
          r.below(2),
          { slot: r.pick(eventfds) },
        ]),
      () => ioctl(on, 0x3b6e, [20, 0x21, r.below(5), 0, 0]),
      () => ioctl(on, 0x3b70, [r.pick([12, 11, 24, 64]), 0, 0, ...Array<number>(16).fill(0)]),
      () => ioctl(on, device.attach, [12, 0, space()]),
      () => ioctl(on, device.attach, [16, r.below(3), space(), r.below(3)]),
      () => ioctl(on, 0x3b78, [8, 0]),
      () => ioctl(on, 0x3b78, [12, r.below(3), r.below(3)]),
      () => ioctl(on, device.bind, [16, 0, r.oneIn(3) ? this.#anyFd() : { slot: slots.iommufd }, 0]),
      () => ({
        ...feature(32, 1, 11, region(), 0, 0, 1, page * BigInt(r.below(3)), page * BigInt(1 + r.below(2))),
        into: r.pick(dmaBufs),
      }),
      () => ({ ...feature(48, 1, 11, region(), 0, 0, 2, 0n, this.#length(), 0x4000n, page), into: r.pick(dmaBufs) }),
      () => feature(r.below(5) * 8, r.below(8), r.below(16), 0n, 0n, 0n, 0n),
      () => feature(0, 2, r.pick([3, 5])),
      () =>
        ioctl(on, 0x3b74, [
          40,
          r.pick([1, 2, 4, 8, 3]),
          r.oneIn(3) ? 0x1234n : 0x2_0000_0000_00n + 8n * BigInt(r.below(4)),
          BigInt(r.below(3)),
          r.oneIn(3) ? -1 : { slot: r.pick(eventfds) },
          0,
        ]),
      () =>
        r.oneIn(20)
          ? { call: 'ioctl', on, args: [0x3b6f, 0] }
          : ioctl(on, 0x3b64 + r.below(0x20), [32, ...Array<number>(12).fill(0)]),
    ])();
    function space(): number {
      return r.oneIn(5) ? r.below(10) : r.pick([5, 6]);
    }
  }

  /** Config space, and the start of memory BARs, which each sequence writes before it reads. */
  #region(): Operation {
    const r = this.#random;
    const on = r.pick(slots.devices);
    const config = (offset: number) => (7n << 40n) + BigInt(offset);
    const move = (call: string, size: number, offset: bigint): Operation => ({
      call,
      on,
      args: [r.oneIn(30) ? nowhere : pointer, size, offset],
      ...(call === 'pread' ? { reads: true } : {}),
    });
    return r.pick<() => Operation>([
      () => ({ ...move('pwrite', 2, config(4)), data: words(r.pick([0x100, 0x102, 0x103, 0x107, 0x506])) }),
      // Only the drive has power states. Other devices keep what is written there, also when they are closed.
      () => ({ ...move('pwrite', r.pick([1, 2]), config(0x64)), on: 3, data: words(r.below(4)) }),
      () => ({ ...move('pwrite', r.pick([1, 2, 4]), config(0x3c)), data: words(r.below(256)) }),
      () =>
        move(
          'pread',
          r.pick([1, 2, 4, 8]),
          config(r.pick([0, 4, 6, 8, 0x2c, 0x34, 0x3c, 0x40, 0x42, 0x60, 0x64, 0x80, 0x88])),
        ),
      () => move('pread', r.pick([0, 1, 4]), config(r.pick([0xff, 0x100, 0xfff, 0x1000, 0xfffe]))),
      () => move('pread', r.pick([0, 4]), (BigInt(r.below(12)) << 40n) | 0x1000_0000n),
      () => ({ call: 'pread', on, args: [pointer, 4, 6n << 40n] }), // the ROM's content is QEMU's own
      () => ({ ...move('pread', r.pick([0, 4, 8]), 0n), on: 2 }),
    ])();
  }

  #buffer(): Operation {
    const r = this.#random;
    const on = r.pick(dmaBufs);
    const string = r.pick(['', 'name', 'x'.repeat(31), 'y'.repeat(32), 'z'.repeat(40)]);
    return r.pick<() => Operation>([
      () => ioctl(on, 0x4008_6200, [BigInt(r.below(10))]),
      () => ({ call: 'ioctl', on, args: [r.pick([0x4008_6201, 0x4004_6201]), pointer], data: path(string) }),
      () => ({ call: 'lseek', on, args: [r.pick([0, 0, 0, 1, -1]), r.below(4)] }),
      () => ({ call: 'poll', on, args: [r.below(8)] }),
      () =>
        ioctl(
          slots.udmabuf,
          0x4018_7542,
          [{ slot: r.pick(memfds) }, r.below(2), page * BigInt(r.below(3)), this.#length()],
          { into: r.pick(dmaBufs) },
        ),
      () =>
        ioctl(slots.heap, 0xc018_4800, [this.#length() & 0xffffn, 0, r.pick([2, 0x8_0002, 1, 0, 9]), 0n], {
          field: { offset: 8, into: r.pick(dmaBufs) },
        }),
      () => ioctl(on, 0xc008_6202, [r.below(4), 0], { field: { offset: 4, into: r.pick(copies) } }),
    ])();
  }

  #group(): Operation {
    const r = this.#random;
    const on = slots.group;
    return r.pick<() => Operation>([
      () => openSlot(on),
      () => openSlot(slots.container),
      () => ioctl(on, 0x3b67, [8, 0]),
      () => ioctl(on, 0x3b68, [r.oneIn(4) ? this.#anyFd() : { slot: r.pick([slots.container, slots.iommufd]) }]),
      () => ({ call: 'ioctl', on, args: [0x3b69, 0] }),
      () => ({
        call: 'ioctl',
        on,
        args: [0x3b6a, pointer],
        data: path(addressOf(reference, 'twin1')),
        into: r.pick(copies),
      }),
      () => ({ call: 'ioctl', on: slots.container, args: [0x3b65, r.below(12)] }),
      () => ({ call: 'ioctl', on: slots.container, args: [0x3b66, r.pick([1, 3, 3, 4])] }),
      () => ioctl(slots.container, 0x3b71, [32, this.#flags(4), base + BigInt(userAt), this.#iova(), this.#length()]),
      () => ioctl(slots.container, 0x3b72, [24, this.#flags(4), this.#iova(), this.#length()]),
    ])();
  }

  #file(): Operation {
    const r = this.#random;
    const on = r.below(slotCount);
    return r.pick<() => Operation>([
      () => ({ call: 'close', on, args: [] }),
      () => openSlot(r.below(14)),
      () => ({ call: 'dup', on, args: [], into: r.pick(copies) }),
      () => ({ call: 'poll', on, args: [r.pick([1, 4, 5])] }),
      () => ({
        call: 'mmap',
        on,
        args: [page, r.below(4), r.pick([1, 1, 2]), r.oneIn(3) ? 0n : BigInt(r.below(9)) << 40n],
      }),
      () => ({
        call: r.pick(['read', 'write']),
        on: r.pick(eventfds),
        args: [pointer, r.pick([8, 8, 4])],
        data: words(1n),
      }),
      () => ({ call: 'fstat', on, args: [pointer] }),
    ])();
  }
}

/** The operations of one sequence. */
export function sequence(seed: number, number: number, length: number): Operation[] {
  const random = new Random(seed, number);
  const generator = new Generator(random);
  const begin = start().filter(() => !random.oneIn(25));
  return [...begin, ...Array.from({ length: Math.max(0, length - begin.length) }, () => generator.next())];
}
