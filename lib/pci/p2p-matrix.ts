// P2pMatrix contains the P2P verdicts on all pairs of functions.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { integer, outOfRange } from '../errors/validate';
import type { PciFunction } from './function';
import type { P2pPath, P2pRules, P2pVerdict } from './p2p';

const verdicts = ['direct', 'host-bridge', 'unsupported', 'unknown'] as const satisfies readonly P2pVerdict[];

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
   * Returns the path of `devices[i]` and `devices[j]`, with the reason for the verdict. @throws RangeError
   * ERR_OUT_OF_RANGE
   */
  path(i: number, j: number): P2pPath {
    return this.#rules.path(this.#at(i, 'i'), this.#at(j, 'j'));
  }
}
