// Looking around after an error, to tell its cause. Nothing here throws; what cannot be seen is undefined or empty.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import type { DmaBuf } from '../../dmabuf/dma-buf';
import type { Ioas } from '../../iommufd/ioas';
import type { Kernel } from '../../kernel/kernel';
import type { ContainerFile } from '../../vfio/container-file';
import type { VfioGroup } from '../../vfio/group';
import type { InterruptIndex } from '../../vfio/interrupt-index';

/** The arguments of calls that causes are told from. */
export interface Arguments {
  path?: string;
  device?: string;
  group?: number;
  region?: number;
  iova?: bigint;
  offset?: bigint;
  length?: bigint;
  fd?: number;
  ranges?: number;
  size?: bigint;
  exporter?: string;
  hugePages?: string;
  pasid?: number;
  /** 'given', so that nothing tells it. */
  vfToken?: string;
  pageRequestCookie?: number;
  irq?: string;
  action?: string;
  state?: string;
}

/** The objects that a call was about: not shown in the error, but looked at for its cause. */
export interface Around {
  kernel?: Kernel;
  ioas?: Ioas;
  dmaBuf?: DmaBuf;
  container?: ContainerFile;
  group?: VfioGroup;
  /** Whether the device's file is bound to an iommufd, by whichever object. */
  isBound?: () => boolean;
  /** How many PASIDs of the device are attached. */
  pasids?: number;
  /** What was to be exported: offset and length by turns. */
  words?: BigUint64Array;
  /** Which vectors were to be set, and the numbers of the eventfds that the caller gave for them. */
  interrupts?: { index: InterruptIndex; start: number; count: number; fds: readonly number[] };
  /** The migration state that the device is in, and those that it can be put in. */
  state?: () => string;
  states?: () => readonly string[];
}

/** Says what the cause is, or undefined if it cannot be seen. */
export type Look = (args: Arguments, around: Around) => string | undefined;

export function attempt<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

export function text(path: string): string {
  return attempt(() => readFileSync(path, 'utf8')) ?? '';
}

export function list(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? [];
}

/** The last part of what a symbolic link leads to. */
export function linked(path: string): string | undefined {
  return attempt(() => basename(readlinkSync(path)));
}

export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** '8392704 bytes (8.0 MiB)' */
export function amount(bytes: bigint): string {
  return `${String(bytes)} bytes (${(Number(bytes) / 2 ** 20).toFixed(1)} MiB)`;
}
