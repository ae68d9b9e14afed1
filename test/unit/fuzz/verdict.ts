// The fuzzer's verdict on one call.
import { KernelError } from '../../../lib';
import { documentedCodes } from './surface';
import { OwnError } from './values';

/**
 * What is wrong with an error that a call ended in; undefined if nothing is.
 *
 * @param strict what was wrong with the arguments was the library's to see: a TypeError or RangeError has a code, then
 */
export function complaint(error: unknown, strict: boolean): string | undefined {
  if (error instanceof OwnError || error instanceof KernelError) return undefined;
  if (!(error instanceof Error)) return `throws what is no Error, but ${typeof error}`;
  const { name, message, stack, code } = error as Error & { code?: unknown };
  const lines = (stack ?? message).split('\n').slice(0, 8);
  const details = lines.map((line) => line.slice(0, 300)).join('\n');
  if (typeof code === 'string' && code.startsWith('ERR_')) {
    return documentedCodes.has(code) ? undefined : `the code is not documented: ${code}, ${details}`;
  }
  if (name === 'AbortError') return undefined;
  if (!(error instanceof TypeError || error instanceof RangeError)) return details;
  if (/call stack|allocation failed/i.test(message)) return details;
  return strict ? `has no code: ${details}` : undefined;
}
