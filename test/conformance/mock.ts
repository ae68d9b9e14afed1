// Mock devices. Linux built with CONFIG_IOMMUFD_TEST creates them with a request on an iommufd. Their IOMMU has every
// feature (drivers/iommu/iommufd/selftest.c). The fake kernel supports the same request. The library does not: a small
// program that inherits the iommufd makes the request, or a test function of the fake kernel.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Hwpt, HwptData, Ioas, Iommufd } from '../../lib';
import { kernelCall } from '../../lib/errors/errors';
import { FakeKernel } from '../../lib/fake';
import { native } from '../../lib/addon/native';
import { aboutDevice } from './witness';

const op = {
  addReserved: 1,
  replace: 10,
  make: 12,
  dirty: 13,
  checkTlb: 14,
  triggerFault: 15,
  checkCache: 16,
  triggerEvent: 17,
  pasidAttach: 18,
  pasidReplace: 19,
  pasidDetach: 20,
  pasidCheck: 21,
} as const;

const deviceFlags = { noDirty: 1, pasid: 4 } as const;

/** The range of IOVAs (`last` is inclusive) and the page size of the mock IOMMU's page tables. */
export const mockAperture = { start: 1n << 24n, last: (1n << 31n) - 1n, page: 2048n } as const;
/** The mock driver's types of HWPT data and of hw info. */
export const mockType = { hwpt: 0xdead, hwInfo: 0xfeed_beef } as const;

/** The data of a nested HWPT. Each entry of its IOTLB has the value 0x04030201. */
export const guest: HwptData = { type: mockType.hwpt, bytes: new Uint8Array([1, 2, 3, 4, 0, 0, 0, 0]) };

let program: string | undefined;

/** Compiles the program on first use. The guest has a compiler. */
function build(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mock-device-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'mock-device');
  const source = join(__dirname, '../mock-device/mock-device.c');
  const compiler = spawnSync('cc', ['-o', path, source], { encoding: 'utf8' });
  assert.equal(compiler.status, 0, compiler.stderr);
  return path;
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

function request(iommufd: Iommufd, command: Buffer, bitmap?: Uint8Array): number {
  if (iommufd.kernel instanceof FakeKernel) {
    return native.fakeIommufdTest(iommufd.kernel.handle, iommufd.fd, command, bitmap);
  }
  program ??= build();
  const args = bitmap ? [hex(command), hex(bitmap)] : [hex(command)];
  const stdio = ['ignore', 'pipe', 'inherit', iommufd.fd] as const;
  const child = spawnSync(program, args, { encoding: 'utf8', stdio: [...stdio] });
  assert.equal(child.status, 0, 'the mock device program failed');
  const [result = '', struct = ''] = child.stdout.split(' ');
  Buffer.from(struct, 'hex').copy(command);
  return Number(result);
}

/** One field of a command: its offset, its width in bytes, its value. */
type Field = readonly [offset: number, width: 4 | 8, value: number | bigint];

/** Runs a test command. Returns the struct as the kernel changed it. */
function run(iommufd: Iommufd, number: number, id: number, fields: readonly Field[], bitmap?: Uint8Array): Buffer {
  aboutDevice('mock device');
  const command = Buffer.alloc(72);
  command.writeUInt32LE(command.length, 0);
  command.writeUInt32LE(number, 4);
  command.writeUInt32LE(id, 8);
  for (const [offset, width, value] of fields) {
    if (width === 8) command.writeBigUInt64LE(BigInt(value), offset);
    else command.writeUInt32LE(Number(value), offset);
  }
  const result = request(iommufd, command, bitmap);
  if (result < 0) {
    const code = Object.entries(constants.errno).find(([, errno]) => errno === -result)?.[0] ?? String(result);
    throw Object.assign(new Error(`${code}: test command ${String(number)}`), { code });
  }
  return command;
}

/** Reserves a range of an IOAS until the IOAS is destroyed. */
export function reserveIovas(ioas: Ioas, start: bigint, length: bigint): void {
  run(ioas.iommufd, op.addReserved, ioas.id, [
    [16, 8, start],
    [24, 8, length],
  ]);
}

/** A device without hardware, bound to an iommufd and attached. Close the device or the iommufd. */
export class MockDevice {
  readonly iommufd: Iommufd;
  readonly #id: number;
  /** The id of the mock object that contains the device. */
  readonly stdevId: number;
  /** The id of the HWPT to which it was attached first. */
  readonly hwptId: number;
  readonly #pasids = new Set<number>();
  #closed = false;

  private constructor(iommufd: Iommufd, answer: Buffer) {
    this.iommufd = iommufd;
    this.stdevId = answer.readUInt32LE(16);
    this.hwptId = answer.readUInt32LE(20);
    this.#id = answer.readUInt32LE(24);
  }

  /** Its id in the iommufd, as for a VfioDevice. */
  get id(): number {
    aboutDevice('mock device');
    return this.#id;
  }

  /**
   * @param opts `dirtyTracking`: whether its IOMMU supports dirty tracking (default true). `pasid`: whether it supports
   * PASIDs, of 20 bits (default false).
   */
  static attach(table: Ioas | Hwpt, opts: { dirtyTracking?: boolean; pasid?: boolean } = {}): MockDevice {
    const { dirtyTracking = true, pasid = false } = opts;
    const flags = (dirtyTracking ? 0 : deviceFlags.noDirty) | (pasid ? deviceFlags.pasid : 0);
    return new MockDevice(table.iommufd, run(table.iommufd, op.make, table.id, [[28, 4, flags]]));
  }

  /** Attaches it to another IOAS or HWPT. Returns the id of the HWPT. */
  replace(table: Ioas | Hwpt): number {
    return run(this.iommufd, op.replace, this.stdevId, [[16, 4, table.id]]).readUInt32LE(16);
  }

  attachPasid(pasid: number, table: Ioas | Hwpt): void {
    this.#pasid(op.pasidAttach, pasid, table.id);
    this.#pasids.add(pasid);
  }

  replacePasid(pasid: number, table: Ioas | Hwpt): void {
    this.#pasid(op.pasidReplace, pasid, table.id);
  }

  detachPasid(pasid: number): void {
    this.#pasid(op.pasidDetach, pasid, 0);
    this.#pasids.delete(pasid);
  }

  /** Throws EINVAL unless the PASID is attached to the HWPT; undefined: it must not be attached. */
  checkPasid(pasid: number, hwpt: Hwpt | undefined): void {
    this.#pasid(op.pasidCheck, pasid, hwpt?.id ?? 0);
  }

  #pasid(number: number, pasid: number, id: number): void {
    run(this.iommufd, number, this.stdevId, [
      [16, 4, pasid],
      [20, 4, id],
    ]);
  }

  /**
   * Marks pages as dirty, as if the device had written to them. Returns their number. Dirty tracking must be enabled.
   */
  static setDirty(hwpt: Hwpt, iovas: readonly bigint[], page = 4096n): number {
    const sorted = [...iovas].sort((a, b) => (a < b ? -1 : 1));
    const first = sorted[0] ?? 0n;
    const pages = ((sorted.at(-1) ?? 0n) - first) / page + 1n;
    const bitmap = new Uint8Array(Number((pages + 63n) / 64n) * 8);
    for (const iova of sorted) {
      const bit = Number((iova - first) / page);
      bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
    const fields: Field[] = [
      [24, 8, first],
      [32, 8, pages * page],
      [40, 8, page],
    ];
    return Number(run(hwpt.iommufd, op.dirty, hwpt.id, fields, bitmap).readBigUInt64LE(56));
  }

  /** Whether an entry (0 to 3) of a nested HWPT's IOTLB has this value. */
  static tlbHolds(hwpt: Hwpt, entry: number, value: number): boolean {
    return holds(() => run(hwpt.iommufd, op.checkTlb, hwpt.id, pair(entry, value)));
  }

  /** Whether an entry of the device's own cache has this value; initially 0xbaddad. */
  cacheHolds(entry: number, value: number): boolean {
    return holds(() => run(this.iommufd, op.checkCache, this.id, pair(entry, value)));
  }

  /** Makes the device send a page request. */
  triggerIopf(opts: { pasid?: number; group?: number; perm?: number; address: bigint }): void {
    const { pasid = 0, group = 0, perm = 0, address } = opts;
    run(this.iommufd, op.triggerFault, 0, [
      [16, 4, this.id],
      [20, 4, pasid],
      [24, 4, group],
      [28, 4, perm],
      [32, 8, address],
    ]);
  }

  /** Makes the device cause an event of its vIOMMU. */
  triggerVevent(): void {
    run(this.iommufd, op.triggerEvent, 0, [[16, 4, this.id]]);
  }

  /** Detaches, unbinds and destroys the device. */
  close(): void {
    if (this.#closed || this.iommufd.closed) return;
    for (const pasid of this.#pasids) this.detachPasid(pasid);
    kernelCall({ mock: this.stdevId }, () => native.iommufdDestroy(this.iommufd.handle, this.stdevId));
    this.#closed = true;
  }
}

const pair = (first: number, second: number): Field[] => [
  [16, 4, first],
  [20, 4, second],
];

function holds(check: () => void): boolean {
  try {
    check();
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code === 'EINVAL') return false;
    throw error;
  }
}
