// What the library throws when a kernel says no, with the reason where the library can know it.
import { errnoName } from '../addon/errno';
import { followSubscribers } from '../addon/trace';
import type { Around, FindHint } from './around';
import { coded } from '../addon/coded';

let hintFor: FindHint = () => undefined;

/** Gives the errors their hints: those come from higher floors. @internal */
export function giveHints(find: FindHint): void {
  hintFor = find;
}

/** What a call was asked to do, for the message and for the hint. */
export type KernelErrorArguments = Readonly<Record<string, unknown>>;

function format(value: unknown): string {
  return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
}

/** The hint. What goes wrong while it is looked for does not hide the kernel's error. */
function look(...about: Parameters<typeof hintFor>): string | undefined {
  try {
    return hintFor(...about);
  } catch {
    return undefined;
  }
}

/**
 * A system call failed. `code` and `errno` are the kernel's; `hint` says what it means here and what to do, where the
 * library can tell.
 */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  /** The errno's name: 'EOPNOTSUPP'. */
  readonly code: string;
  /** The errno, negative as in Node's own system errors: -95. */
  readonly errno: number;
  /** 'ioctl', 'open', 'pread', 'mmap', … */
  readonly syscall: string;
  /** The request's name in the kernel's headers, if the call was an ioctl: 'IOMMU_IOAS_MAP_FILE'. */
  readonly ioctl: string | undefined;
  /** The arguments that matter. */
  readonly args: KernelErrorArguments;
  /** What is the matter and what to do about it. */
  readonly hint: string | undefined;

  /** @internal */
  constructor(failure: Failure, args: KernelErrorArguments, around: Around = {}) {
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

/** What native code throws for a kernel's errno. */
interface Failure extends Error {
  errno: number;
  syscall: string;
  ioctl?: string;
}

/** A failure that this library finds before it asks the kernel, in the form of a native one. @internal */
export class FoundFailure extends Error implements Failure {
  readonly errno: number;
  readonly syscall: string;

  /** `errno`: positive. */
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
 * A native call's error as a KernelError that tells `args`, and whose cause is looked for `around`; other errors as they
 * are. @internal
 */
export function explain(error: unknown, args: KernelErrorArguments, around?: Around): unknown {
  return isFailure(error) ? new KernelError(error, args, around) : error;
}

/** Runs a native call; a kernel's errno comes out as a KernelError that tells `args`. @internal */
export function kernelCall<T>(args: KernelErrorArguments, call: () => T, around?: Around): T {
  followSubscribers();
  try {
    return call();
  } catch (error) {
    throw explain(error, args, around);
  }
}

/** The same for a native call that returns a promise. @internal */
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

/** An error of the library's own, with one of the codes in the API's documentation. @internal */
export function codedError(code: string, message: string, cause?: unknown): Error & { code: string } {
  return coded(cause === undefined ? new Error(message) : new Error(message, { cause }), code);
}

/** ERR_CLOSED: the object was closed. @internal */
export function closedError(what: string): Error & { code: string } {
  return codedError('ERR_CLOSED', `the ${what} is closed`);
}
