// KernelError reports a failed system call, with a hint about the cause if the library can determine it.
import { shownErrors } from '../addon/shown';
import { key, type Key, onlyInside } from './key';
import { errnoName } from '../addon/errno';
import { followSubscribers } from '../addon/trace';
import type { Around, FindHint } from './around';
import { coded } from '../addon/coded';

let hintFor: FindHint = () => undefined;

/** Sets the function that finds hints. It is in a folder that depends on this one. @internal */
export function giveHints(find: FindHint): void {
  hintFor = find;
}

/** The arguments of a call, for the error message and the hint. */
export type KernelErrorArguments = Readonly<Record<string, unknown>>;

function format(value: unknown): string {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
}

/** Returns the hint. An exception while searching for it must not hide the kernel's error. */
function look(...about: Parameters<typeof hintFor>): string | undefined {
  try {
    return hintFor(...about);
  } catch {
    return undefined;
  }
}

/**
 * A failed system call. `code` and `errno` are the kernel's. `hint` explains the cause and what to do, if the library
 * can determine it.
 */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  /** The errno's name, for example 'EOPNOTSUPP'. */
  readonly code: string;
  /** The negative errno, as in Node's own system errors, for example -95. */
  readonly errno: number;
  /** The system call: 'ioctl', 'open', 'pread', 'mmap', … */
  readonly syscall: string;
  /**
   * The request's name in the kernel's headers, for example 'IOMMU_IOAS_MAP_FILE'; undefined if the call was not an
   * ioctl.
   */
  readonly ioctl: string | undefined;
  /** The call's relevant arguments. */
  readonly args: KernelErrorArguments;
  /** The cause and what to do about it. */
  readonly hint: string | undefined;

  static {
    shownErrors(this, 'code', 'errno', 'syscall', 'ioctl', 'args');
  }

  /** @internal */
  constructor(made: Key, failure: Failure, args: KernelErrorArguments, around: Around = {}) {
    onlyInside(made, 'KernelError', 'the library makes one for each failed system call');
    const code = errnoName(failure.errno);
    const details = Object.entries(args)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name} ${format(value)}`)
      .join(', ');
    const ioctl = Object.hasOwn(failure, 'ioctl') ? failure.ioctl : undefined;
    const call = ioctl === undefined ? failure.syscall : `${failure.syscall} ${ioctl}`;
    const hint = look(ioctl ?? failure.syscall, code, args, around);
    super(
      `${code}: ${failure.message.toLowerCase()}, ${call}` +
        (details ? ` (${details})` : '') +
        (hint === undefined ? '' : `: ${hint}`),
    );
    this.code = code;
    this.errno = -failure.errno;
    this.syscall = failure.syscall;
    this.ioctl = ioctl;
    this.args = args;
    this.hint = hint;
  }
}

/** The error that native code throws for an errno of the kernel. */
interface Failure extends Error {
  errno: number;
  syscall: string;
  ioctl?: string;
}

/** A failure that this library detects without a system call, in the form of a native error. @internal */
export class FoundFailure extends Error implements Failure {
  readonly errno: number;
  readonly syscall: string;

  /** `errno` is positive. */
  constructor(message: string, errno: number, syscall: string) {
    super(message);
    this.errno = errno;
    this.syscall = syscall;
  }
}

function isFailure(error: unknown): error is Failure {
  if (!(error instanceof Error) || error instanceof KernelError) return false;
  return Object.hasOwn(error, 'syscall') && Object.hasOwn(error, 'errno');
}

/**
 * Converts an error of a native call to a KernelError with `args`; `around` is the context for the hint. Returns other
 * errors unchanged. @internal
 */
export function explain(error: unknown, args: KernelErrorArguments, around?: Around): unknown {
  return isFailure(error) ? new KernelError(key, error, args, around) : error;
}

/** Runs a native call and throws a kernel's errno as a KernelError with `args`. @internal */
export function kernelCall<T>(args: KernelErrorArguments, call: () => T, around?: Around): T {
  followSubscribers();
  try {
    return call();
  } catch (error) {
    throw explain(error, args, around);
  }
}

/** As {@link kernelCall}, for a native call that returns a promise. @internal */
export async function kernelCallAsync<T>(
  args: KernelErrorArguments,
  call: () => Promise<T>,
  around?: Around,
): Promise<T> {
  followSubscribers();
  try {
    return await call();
  } catch (error) {
    throw explain(error, args, around);
  } finally {
    followSubscribers();
  }
}

/** Creates an error of the library with one of the documented codes. @internal */
export function codedError(code: string, message: string, cause?: unknown): Error & { code: string } {
  return coded(cause === undefined ? new Error(message) : new Error(message, { cause }), code);
}

/** Creates an error with code ERR_CLOSED: the object was closed. @internal */
export function closedError(what: string): Error & { code: string } {
  return codedError('ERR_CLOSED', `the ${what} is closed`);
}
