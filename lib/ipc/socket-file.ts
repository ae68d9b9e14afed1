// Creates the file of a Unix socket: first in a private folder, then at its final path.
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  type BigIntStats,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { attempt } from '../kernel/look';
import { FoundFailure, kernelCall, KernelError } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { type FdHandle, native } from '../addon/native';
import { safeFolder } from './safe-folder';

const oPath = 0o10000000; // O_PATH
const eAddrInUse = 98;
const lockPatience = 2000; // milliseconds; the process that has the lock starts to listen shortly
const lockPause = 2;

/** Options for creating the socket's file. @internal */
export interface SocketFileOptions {
  kernel: Kernel;
  mode: number;
  group: number | undefined;
  /** Creates a socket at this path and listens. */
  listen: (path: string) => FdHandle;
  /** Connects to the socket that listens at this path. */
  connect: (path: string) => FdHandle;
}

/** Creates an error like those of native code, for {@link kernelCall}. `errno` is positive. */
function failure(errno: number): Error {
  const [, message = ''] = getSystemErrorMap().get(-errno) ?? [];
  return new FoundFailure(message, errno, 'bind');
}

function inUse(path: string, by: { pid?: number | undefined; holder?: string }): never {
  return kernelCall({ path, ...by }, () => {
    throw failure(eAddrInUse);
  });
}

/** Converts an error of Node's fs calls, whose errno is negative. */
function ofNode(error: unknown): Error | undefined {
  const { errno = 0, syscall } = error as { errno?: number; syscall?: string };
  return errno < 0 && syscall !== undefined && !(error instanceof KernelError) ? failure(-errno) : undefined;
}

/** Runs file system calls and reports their errors as errors of bind(2). */
function files<T>(path: string, calls: () => T): T {
  try {
    return calls();
  } catch (error) {
    const found = error instanceof FoundFailure ? error : ofNode(error);
    return kernelCall({ path }, () => {
      throw found ?? error;
    });
  }
}

const sleepSync = (ms: number) => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

const look = (path: string): BigIntStats | undefined =>
  lstatSync(path, { bigint: true, throwIfNoEntry: false }) ?? undefined;

const isSame = (one: BigIntStats | undefined, other: BigIntStats) => one?.ino === other.ino && one.dev === other.dev;

/** The file of a listening socket. */
export class SocketFile {
  /** The file's folder (O_PATH). */
  readonly #folder: FdHandle;
  readonly #name: string;
  readonly #stat: BigIntStats;

  private constructor(folder: FdHandle, name: string, stat: BigIntStats) {
    this.#folder = folder;
    this.#name = name;
    this.#stat = stat;
  }

  /**
   * Creates a listening socket at `path`. Its mode and group are set before other processes can see it. A socket that
   * no process listens on is replaced. If several processes try this at the same time, one of them succeeds.
   *
   * @throws Error ERR_UNSAFE_FOLDER. KernelError EADDRINUSE, EACCES, ENOENT, … @internal
   */
  static make(path: string, opts: SocketFileOptions): { file: SocketFile; handle: FdHandle } {
    return files(path, () => {
      const { O_DIRECTORY, O_NOFOLLOW } = constants;
      const number = openSync(safeFolder(dirname(path)), oPath | O_DIRECTORY | O_NOFOLLOW);
      let folder: FdHandle;
      try {
        folder = kernelCall({ path }, () => native.fdDuplicate(opts.kernel.handle, number));
      } finally {
        closeSync(number);
      }
      try {
        const name = basename(path);
        const unlock = lock(path, folder, name, opts.kernel);
        try {
          const [handle, stat] = put(path, folder, name, opts);
          return { file: new SocketFile(folder, name, stat), handle };
        } finally {
          unlock();
        }
      } catch (error) {
        native.fdClose(folder, false);
        throw error;
      }
    });
  }

  /** Removes the file, unless another process replaced it. */
  remove(): void {
    const path = within(this.#folder, this.#name);
    if (
      isSame(
        attempt(() => look(path)),
        this.#stat,
      )
    ) {
      attempt(() => unlinkSync(path));
    }
    native.fdClose(this.#folder, false);
  }
}

/** Returns the path of a file in an open folder. The path stays valid if the folder is renamed. */
const within = (folder: FdHandle, name: string) => `/proc/self/fd/${String(native.fdNumber(folder))}/${name}`;

/**
 * Takes the lock for creating or replacing the socket `name`: flock(2) on a temporary file in the same folder. Returns
 * a function that releases the lock.
 */
function lock(path: string, folder: FdHandle, name: string, kernel: Kernel): () => void {
  const lockPath = within(folder, `.${name}.lock`);
  const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
  const deadline = performance.now() + lockPatience;
  for (;;) {
    const number = openSync(lockPath, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
    let taken = false;
    try {
      const stat = fstatSync(number, { bigint: true });
      if (stat.uid !== BigInt(process.geteuid?.() ?? 0)) inUse(path, { holder: `user ${String(stat.uid)}` });
      // The previous owner of the lock may have removed the file.
      taken = kernelCall({ path }, () => native.fdLock(kernel.handle, number)) && isSame(look(lockPath), stat);
    } finally {
      if (!taken) closeSync(number);
    }
    if (taken) {
      return () => {
        attempt(() => unlinkSync(lockPath));
        closeSync(number);
      };
    }
    if (performance.now() > deadline) inUse(path, { holder: 'another process' });
    sleepSync(lockPause);
  }
}

/** Creates a new socket and moves it to its path. The caller must have the lock. */
function put(path: string, folder: FdHandle, name: string, opts: SocketFileOptions): [FdHandle, BigIntStats] {
  const place = within(folder, name);
  const before = look(place);
  if (before) checkDead(path, place, before, opts);
  const own = mkdtempSync(within(folder, '.vfio-dmabuf-')); // mode 0700
  try {
    const made = `${own}/socket`;
    const handle = opts.listen(made);
    try {
      if (opts.group !== undefined) lchownSync(made, -1, opts.group);
      chmodSync(made, opts.mode);
      const stat = lstatSync(made, { bigint: true });
      if (before) renameSync(made, place);
      else linkNew(path, made, place);
      return [handle, stat];
    } catch (error) {
      native.fdClose(handle, false);
      throw error;
    }
  } finally {
    attempt(() => unlinkSync(`${own}/socket`)); // the socket was moved, or was not created
    attempt(() => rmdirSync(own));
  }
}

/** Links the socket to its path. Unlike rename(2), link(2) does not replace an existing file. */
function linkNew(path: string, made: string, place: string): void {
  try {
    linkSync(made, place);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'EEXIST') inUse(path, { holder: 'another process' });
    throw error;
  }
}

/**
 * Checks that no process listens on the existing socket file and that this user owns it. @throws KernelError EADDRINUSE
 */
function checkDead(path: string, place: string, stat: BigIntStats, opts: SocketFileOptions): void {
  if (!stat.isSocket()) inUse(path, { holder: 'a file that is no socket' });
  if (stat.uid !== BigInt(process.geteuid?.() ?? 0)) inUse(path, { holder: `user ${String(stat.uid)}` });
  let connected: FdHandle;
  try {
    connected = opts.connect(place);
  } catch (error) {
    const code = error instanceof KernelError ? error.code : '';
    if (code === 'ECONNREFUSED') return;
    if (!['EAGAIN', 'EPROTOTYPE', 'EACCES', 'EPERM'].includes(code)) throw error;
    inUse(path, { holder: 'another process' });
  }
  const pid = attempt(() => native.socketPeer(connected).pid);
  native.fdClose(connected, false);
  inUse(path, { pid });
}
