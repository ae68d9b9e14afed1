// The messages on a socket that shares dma-bufs: one JSON object per SOCK_SEQPACKET message (docs/share.md).
import { TextDecoder } from 'node:util';
import { codedError } from '../errors/errors';
import { attempt } from '../kernel/look';
import type { DmaRange } from '../vfio/export';

/** The protocol version. */
export const shareVersion = 1;

/**
 * The maximum size of the first message, in bytes. It is below Linux's default socket send buffer
 * (/proc/sys/net/core/wmem_default).
 */
export const mostHelloBytes = 1 << 17;

/** The maximum number of buffers: the kernel's limit of fds in one message. */
export const mostBuffers = 253;

const mostReasonLength = 200;

/** The description of a shared dma-buf. The fd is sent separately. */
export interface SharedBufferInfo {
  /** The name that the owner gave it. */
  name: string;
  /** The PCI address of the device that exported it. */
  device: string | undefined;
  /** The region (BAR) that contains the buffer. */
  region: number | undefined;
  /** The ranges of the region, in the buffer's order. */
  ranges: DmaRange[] | undefined;
  /** The size in bytes. */
  size: bigint;
  /** The inode number, which is the same in every process that has the buffer. */
  inode: bigint;
  /** The exporter's name: 'vfio_pci_core', 'udmabuf', …; undefined: the kernel did not report it. */
  exporter: string | undefined;
  /**
   * How often the device has revoked the buffer. Mappings from an earlier generation are no longer valid and must be
   * created again.
   */
  generation: number;
  /** 'live': the buffer can be mapped. 'revoked': it cannot be mapped now. */
  state: 'live' | 'revoked';
}

/** The first message. It carries one fd per buffer. */
export interface Hello {
  vfioDmabufShare: number;
  buffers: SharedBufferInfo[];
  refused?: undefined;
}

/**
 * The only message to an authorized client when the server has no free slot. It carries no fds, and the server closes
 * the connection.
 */
export interface Refusal {
  vfioDmabufShare: number;
  /** The reason, as text. */
  refused: string;
}

/** A later message, without fds: the device revoked a buffer, or the buffer can be mapped again. */
export interface ShareEvent {
  event: 'revoked' | 'restored';
  /** The buffer's index in the first message. */
  buffer: number;
  generation: number;
}

const hex = (_: string, value: unknown) => (typeof value === 'bigint' ? `0x${value.toString(16)}` : value);

export function encode(message: Hello | Refusal | ShareEvent): string {
  return JSON.stringify(message, hex);
}

type Json = Record<string, unknown>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Removes the prototype of parsed objects, so that missing members are not looked up in Object.prototype. */
const withoutPrototype = (_: string, value: unknown) =>
  isObject(value) ? (Object.setPrototypeOf(value, null) as object) : value;

/** Creates an Error with code ERR_SHARE_PROTOCOL. */
export function wrong(what = 'the other end does not share dma-bufs as this library does'): Error {
  return codedError('ERR_SHARE_PROTOCOL', what);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parse(bytes: Uint8Array): Json {
  const value = attempt(() => JSON.parse(utf8.decode(bytes), withoutPrototype) as unknown);
  if (!isObject(value)) throw wrong();
  return value;
}

function u64(value: unknown): bigint {
  if (typeof value !== 'string' || !/^0x[0-9a-f]{1,16}$/.test(value)) throw wrong();
  return BigInt(value);
}

function count(value: unknown, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > most) throw wrong();
  return value;
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw wrong();
  return value;
}

const optional = <T>(value: unknown, decode: (value: unknown) => T): T | undefined =>
  value === undefined ? undefined : decode(value);

function range(value: unknown): DmaRange {
  if (!isObject(value)) throw wrong();
  const [offset, length] = [u64(value['offset']), u64(value['length'])];
  if (length === 0n || offset + length > 1n << 64n) throw wrong();
  return { offset, length };
}

function list<T>(value: unknown, decode: (value: unknown) => T): T[] {
  if (!Array.isArray(value)) throw wrong();
  return value.map(decode);
}

function state(value: unknown): SharedBufferInfo['state'] {
  if (value !== 'live' && value !== 'revoked') throw wrong();
  return value;
}

function bufferInfo(value: unknown): SharedBufferInfo {
  if (!isObject(value)) throw wrong();
  return {
    name: text(value['name']),
    device: optional(value['device'], text),
    region: optional(value['region'], (region) => count(region, 0xffff_ffff)),
    ranges: optional(value['ranges'], (ranges) => list(ranges, range)),
    size: u64(value['size']),
    inode: u64(value['inode']),
    exporter: optional(value['exporter'], text),
    generation: count(value['generation']),
    state: state(value['state']),
  };
}

/** Returns the server's reason as printable text. */
function reason(value: unknown): string {
  return text(value)
    .slice(0, mostReasonLength)
    .replace(/[^\x20-\x7e]/g, '?');
}

/** @throws Error ERR_SHARE_PROTOCOL; ERR_SHARE_VERSION */
export function decodeHello(bytes: Uint8Array): Hello | Refusal {
  const { vfioDmabufShare, buffers, refused } = parse(bytes);
  const version = count(vfioDmabufShare);
  if (version !== shareVersion) {
    throw codedError(
      'ERR_SHARE_VERSION',
      `the other end speaks version ${String(version)}, not ${String(shareVersion)}`,
    );
  }
  if (refused !== undefined) return { vfioDmabufShare: version, refused: reason(refused) };
  const infos = list(buffers, bufferInfo);
  if (infos.length > mostBuffers) throw wrong();
  if (new Set(infos.map(({ name }) => name)).size < infos.length) throw wrong('two buffers have the same name');
  return { vfioDmabufShare: version, buffers: infos };
}

/** @throws Error ERR_SHARE_PROTOCOL */
export function decodeEvent(bytes: Uint8Array): ShareEvent {
  const { event, buffer, generation } = parse(bytes);
  if (event !== 'revoked' && event !== 'restored') throw wrong();
  return { event, buffer: count(buffer), generation: count(generation) };
}
