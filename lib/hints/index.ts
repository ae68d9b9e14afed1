// Finds the hint for a call and an errno.
import type { Arguments, Around } from '../errors/around';
import { attempt } from '../kernel/look';
import { containerHints } from './container';
import { dmaBufHints } from './dma-buf';
import { fileHints } from './file';
import type { Hints } from './hint';
import { iommufdHints } from './iommufd';
import { socketHints } from './socket';
import { vfioHints } from './vfio';

export const hints: Hints = {
  ...vfioHints,
  ...containerHints,
  ...iommufdHints,
  ...dmaBufHints,
  ...socketHints,
  ...fileHints,
};

/** @internal */
export function hintFor(call: string, code: string, args: Arguments, around: Around): string | undefined {
  const family = `${call.split('_')[0] ?? ''}_*`;
  const hint = hints[call]?.[code] ?? hints[family]?.[code] ?? hints['*']?.[code];
  if (hint === undefined || typeof hint === 'string') return hint;
  const [look, otherwise] = hint;
  return attempt(() => look(args, around)) ?? otherwise;
}
