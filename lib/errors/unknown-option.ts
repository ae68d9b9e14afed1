// Unknown options: an options object with a property that is not an option is an error, which names the nearest option.
import { coded } from '../addon/coded';

const longestName = 40;

/** The number of insertions, deletions, replacements and swaps of neighbours that make `b` from `a`. */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(Math.min(at(i - 1, j) + 1, at(i, j - 1) + 1, at(i - 1, j - 1) + (same ? 0 : 1)));
      if (swapped) row[j] = Math.min(at(i, j), at(i - 2, j - 2) + 1);
    }
  }
  return at(a.length, b.length);
}

/** Returns the option that was probably meant; undefined: none is similar. */
function nearest(name: string, known: readonly string[]): string | undefined {
  const most = Math.max(1, Math.floor(name.length / 3));
  const [best] = known
    .map((option) => ({ option, far: distance(name.toLowerCase(), option.toLowerCase()) }))
    .filter(({ far }) => far <= most)
    .sort((a, b) => a.far - b.far);
  return best?.option;
}

/** Whether the property comes from Object.prototype, to which a program added it. */
function isEverywhere(key: string, value: object): boolean {
  return key in Object.prototype && !Object.hasOwn(value, key);
}

/**
 * Checks that each enumerable property of an object is one of the known options. Reads no property's value. Other
 * values than objects are not checked.
 *
 * @param ignored further properties that are accepted, because objects of the library that are also accepted have them
 * @throws TypeError ERR_INVALID_ARG_VALUE @internal
 */
export function onlyKnown(
  value: object | null | undefined,
  known: readonly string[],
  name = 'options',
  ignored: readonly string[] = [],
): void {
  if (typeof value !== 'object' || value === null) return;
  for (const key in value) {
    if (known.includes(key) || ignored.includes(key) || isEverywhere(key, value)) continue;
    const shown = key.slice(0, longestName);
    const meant = nearest(shown, known);
    const question = meant === undefined ? '' : ` Did you mean "${meant}"?`;
    throw coded(
      new TypeError(`The "${name}" argument has the unknown option "${shown}".${question} Known: ${known.join(', ')}`),
      'ERR_INVALID_ARG_VALUE',
    );
  }
}
