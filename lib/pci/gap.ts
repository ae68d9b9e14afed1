// What could not be seen of a PCI function. All verdicts take it from here: what was not seen is unknown.
import type { PciCapability } from './capabilities';

/** Something that could not be seen of a function, and why. */
export interface PciGap {
  /**
   * - `function`: nothing was seen, except that the function exists.
   * - `response`: the device does not respond, so that it does no DMA and its registers cannot be read.
   * - `place`: the bridges above it are not known.
   * - `config`: config space was seen only in part, without Access Control Services.
   */
  what: 'function' | 'response' | 'place' | 'config';
  /** A sentence with the reason, for example 'only root can read its config space beyond the first 64 bytes'. */
  text: string;
  /** Whether root would see it. */
  root: boolean;
}

/** The header of config space. Users other than root can read only this. */
const headerSize = 0x40;
const conventionalSize = 0x100;
const extendedSize = 0x1000;

/** A function's config space as it was read. @internal */
export interface ConfigSpace {
  bytes: Uint8Array;
  /** The size that the file reports. For a file of sysfs itself, this is the size that the kernel can access. */
  size: number;
  /** Whether the file is in sysfs itself. Otherwise it is a copy, which may be incomplete. */
  live: boolean;
}

const allOnes = (bytes: Uint8Array): boolean => bytes.length > 0 && bytes.every((byte) => byte === 0xff);

/**
 * Returns why the device does not respond; undefined if it does. Only the whole header counts: the vendor ID of a
 * virtual function reads as ones.
 */
export function silence({ bytes }: ConfigSpace, powerState: string): PciGap | undefined {
  const gap = (text: string): PciGap => ({ what: 'response', text, root: false });
  if (powerState === 'D3cold') return gap('it has no power (D3cold); "on" in its power/control of sysfs may wake it');
  if (powerState === 'error') return gap('its power state is an error');
  if (allOnes(bytes.subarray(0, headerSize))) return gap('it does not respond: its config space reads as all ones');
  return undefined;
}

/** Returns why Access Control Services were not seen; undefined if they were, or if there are certainly none. */
export function configGap(
  { bytes, size, live }: ConfigSpace,
  capabilities: readonly PciCapability[],
): PciGap | undefined {
  const gap = (text: string, root: boolean): PciGap => ({ what: 'config', text, root });
  if (capabilities.some(({ type }) => type === 'acs')) return undefined;
  // The kernel accesses no more than the size of its own file. Without more, there are no extended capabilities.
  if (live && size > 0 && size <= conventionalSize) return undefined;
  const seen = bytes.length;
  if (seen === 0) return gap('its config space was not seen', live);
  if (seen === headerSize) return gap('only root can read its config space beyond the first 64 bytes', true);
  const express = capabilities.some(({ type }) => type === 'express');
  const whole = live || express ? extendedSize : conventionalSize;
  if (seen >= whole) return undefined;
  return gap(`only ${String(seen)} of the ${String(whole)} bytes of its config space were seen`, false);
}

const order: readonly PciGap['what'][] = ['function', 'response', 'place', 'config'];

/** Returns sentences about the gaps of functions. Functions with the same gap share a sentence. @internal */
export function gapText(functions: readonly { address: string; gaps: readonly PciGap[] }[]): string {
  const found = new Map<string, string[]>();
  for (const what of order) {
    for (const { address, gaps } of functions) {
      for (const gap of gaps.filter((one) => one.what === what)) {
        found.set(gap.text, [...new Set([...(found.get(gap.text) ?? []), address])]);
      }
    }
  }
  return [...found].map(([text, addresses]) => `${addresses.join(', ')}: ${text}`).join('; ');
}
