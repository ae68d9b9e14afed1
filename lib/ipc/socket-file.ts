// The file of a Unix socket: made where nobody sees it, and put in its place once it is ready.
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
const lockPatience = 2000; // milliseconds: somebody who has the lock is about to listen
const lockPause = 2;

/** How the file is made. @internal */
export interface SocketFileOptions {
  kernel: Kernel;
  mode: number;
  group: number | undefined;
  /** Makes the socket at this path and listens. */
  listen: (path: string) => FdHandle;
  /** Connects to whoever listens at this path. */
  connect: (path: string) => FdHandle;
}

/** As native code's, for {@link kernelCall}. `errno`: positive. */
function failure(errno: number): Error {
  const [, message = ''] = getSystemErrorMap().get(-errno) ?? [];
  return new FoundFailure(message, errno, 'bind');
}

function inUse(path: string, by: { pid?: number | undefined; holder?: string }): never {
  return kernelCall({ path, ...by }, () => {
    throw failure(eAddrInUse);
  });
}

/** Node's errors have a negative errno. */
function ofNode(error: unknown): Error | undefined {
  const { errno = 0, syscall } = error as { errno?: number; syscall?: string };
  return errno < 0 && syscall !== undefined && !(error instanceof KernelError) ? failure(-errno) : undefined;
}

/** Runs file system calls: what fails is told as bind(2)'s failure. */
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

/** The file of a socket that listens. */
export class SocketFile {
  /** Its folder (O_PATH). */
  readonly #folder: FdHandle;
  readonly #name: string;
  readonly #stat: BigIntStats;

  private constructor(folder: FdHandle, name: string, stat: BigIntStats) {
    this.#folder = folder;
    this.#name = name;
    this.#stat = stat;
  }

  /**
   * Makes a socket at `path` that listens. It has its mode and its group before others can see it. A socket that nobody
   * listens at any more is replaced: of several processes that want to, one does.
   *
   * @throws Error ERR_UNSAFE_FOLDER; KernelError EADDRINUSE, EACCES, ENOENT, … @internal
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

  /** Removes the file, unless it was replaced by another. */
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

/** A file of a folder, wherever that is by now. */
const within = (folder: FdHandle, name: string) => `/proc/self/fd/${String(native.fdNumber(folder))}/${name}`;

/**
 * Takes the lock of whoever makes or replaces the socket `name`: flock(2) of a file beside it, which is there for the
 * meantime only. Returns what gives the lock back.
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
      // Whoever had it before may have removed the file.
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

/** Whoever has the lock puts a new socket in its place. */
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
    attempt(() => unlinkSync(`${own}/socket`)); // it was moved, or it was not made
    attempt(() => rmdirSync(own));
  }
}

/** Unlike rename(2), link(2) replaces nothing. */
function linkNew(path: string, made: string, place: string): void {
  try {
    linkSync(made, place);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'EEXIST') inUse(path, { holder: 'another process' });
    throw error;
  }
}

/** @throws KernelError EADDRINUSE: it is no socket that was left behind. */
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
