// P2pMatrix contains the P2P verdicts on all pairs of functions.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { integer, outOfRange } from '../errors/validate';
import type { PciFunction } from './function';
import type { P2pRules } from './p2p';
import type { P2pPath, P2pVerdict } from './p2p-path';

const verdicts = ['direct', 'host-bridge', 'unsupported', 'unknown'] as const satisfies readonly P2pVerdict[];

/** Devices with the same verdicts. */
export interface P2pGroup {
  /** The devices, as indices of the matrix, ascending. */
  devices: number[];
  /** The verdict on any two of them; undefined: it is one device. */
  within: P2pVerdict | undefined;
}

/** The verdicts on all pairs of {@link devices}. A verdict applies in both directions. */
export class P2pMatrix {
  readonly devices: readonly PciFunction[];
  readonly #rules: P2pRules;
  readonly #cells: Uint8Array;

  static {
    shown(
      this,
      ['devices', ({ devices }) => devices.map(({ address }) => address)],
      ['verdicts', (matrix) => matrix.devices.map((_, i) => matrix.devices.map((_other, j) => matrix.verdict(i, j)))],
    );
  }

  /** @internal */
  constructor(made: Key, rules: P2pRules, devices: readonly PciFunction[]) {
    onlyInside(made, 'P2pMatrix', 'use PciTopology#p2pMatrix()');
    const count = devices.length;
    this.devices = devices;
    this.#rules = rules;
    this.#cells = new Uint8Array(count * count);
    const ranked = devices.map((device) => rules.rank(device));
    for (const [i, from] of ranked.entries()) {
      for (const [j, to] of ranked.entries()) {
        if (j < i) continue;
        const verdict = verdicts.indexOf(rules.judge(from, to));
        this.#cells[i * count + j] = verdict;
        this.#cells[j * count + i] = verdict;
      }
    }
  }

  #at(index: number, name: string): PciFunction {
    const found = this.devices[integer(index, name, 0, this.devices.length - 1)];
    if (!found) throw outOfRange(name, 'a device', index);
    return found;
  }

  /** Returns the verdict on `devices[i]` and `devices[j]`. @throws RangeError ERR_OUT_OF_RANGE */
  verdict(i: number, j: number): P2pVerdict {
    this.#at(i, 'i');
    this.#at(j, 'j');
    return verdicts[this.#cells[i * this.devices.length + j] ?? -1] ?? 'unknown';
  }

  /**
   * Groups the devices so that the verdict on two devices depends only on their groups. It is the smallest number of
   * groups with that property, in the order of their first devices.
   */
  groups(): P2pGroup[] {
    const count = this.devices.length;
    const found = new Map<number, P2pGroup>();
    // With the group's own verdict in the diagonal, the rows of its devices are equal.
    for (const [code, within] of verdicts.entries()) {
      const alike = new Map<string, number[]>();
      for (let i = 0; i < count; i += 1) {
        const row = Buffer.from(this.#cells.subarray(i * count, (i + 1) * count));
        row[i] = code;
        const key = row.toString('latin1');
        const members = alike.get(key);
        if (members) members.push(i);
        else alike.set(key, [i]);
      }
      for (const devices of alike.values()) {
        if (devices.length > 1) for (const device of devices) found.set(device, { devices, within });
      }
    }
    const groups = this.devices.map((_, i) => found.get(i) ?? { devices: [i], within: undefined });
    return groups.filter(({ devices }, i) => devices[0] === i);
  }

  /**
   * Returns the path of `devices[i]` and `devices[j]`, with the reason for the verdict. @throws RangeError
   * ERR_OUT_OF_RANGE
   */
  path(i: number, j: number): P2pPath {
    return this.#rules.path(this.#at(i, 'i'), this.#at(j, 'j'));
  }
}
