// Judges the outcome of one fuzzer call.
import { KernelError } from '../../../lib';
import { documentedCodes } from './surface';
import { OwnError } from './values';

/**
 * Describes the fault of an error that a call threw; undefined: the error is correct.
 *
 * @param strict whether the library validates these arguments: then a TypeError or RangeError must have a code
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
