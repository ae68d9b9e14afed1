// Parses BAR indices and byte ranges of the command line.
import { InvalidArgumentError, Option } from 'commander';
import type { DmaRange } from '../vfio/export';

const units: Readonly<Record<string, bigint>> = { '': 1n, k: 1n << 10n, m: 1n << 20n, g: 1n << 30n };

/** Parses for example '0x1000', '64k', '16M'. */
function toBytes(text: string): bigint {
  const match = /^(0x[0-9a-f]+|\d+)([kmg]?)$/i.exec(text);
  const unit = units[match?.[2]?.toLowerCase() ?? ''];
  if (!match?.[1] || unit === undefined) throw new InvalidArgumentError(`${text} is no number of bytes`);
  return BigInt(match[1]) * unit;
}

/** Parses 'OFFSET:LENGTH' and appends it to `before`. */
function toRange(text: string, before: DmaRange[]): DmaRange[] {
  const [offset = '', length, rest] = text.split(':');
  if (length === undefined || rest !== undefined) throw new InvalidArgumentError('a range is OFFSET:LENGTH');
  return [...before, { offset: toBytes(offset), length: toBytes(length) }];
}

export const regionOption = (): Option =>
  new Option('-r, --region <index>', 'the BAR, 0 to 5').makeOptionMandatory().argParser((text) => {
    if (!/^[0-5]$/.test(text)) throw new InvalidArgumentError('a BAR is 0 to 5');
    return Number(text);
  });

/** `several`: the help text for several ranges. */
export const rangeOption = (several: string): Option =>
  new Option('--range <offset:length>', `in bytes, 0x…, or with k, M, G; again for more, ${several}`)
    .default([], 'the whole BAR')
    .argParser(toRange);
