// Checks that only root and this process's user can replace files in a folder.
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { constants } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { codedError, FoundFailure } from '../errors/errors';

const sticky = 0o1000; // only the owner of a file or of the folder may rename or remove the file
const writableByOthers = 0o022;
const eLoop = constants.errno.ELOOP;
const mostLinks = 40; // Linux's limit (MAXSYMLINKS)

function unsafe(path: string, why: string): Error {
  return codedError('ERR_UNSAFE_FOLDER', `others could put something else in the socket's place: ${path} ${why}`);
}

function checkOwner(path: string, { uid }: Stats, trusted: ReadonlySet<number>): void {
  if (!trusted.has(uid)) throw unsafe(path, `belongs to user ${String(uid)}`);
}

function checkFolder(path: string, stat: Stats, trusted: ReadonlySet<number>): void {
  if (!stat.isDirectory()) return; // the next file system call fails with ENOTDIR
  checkOwner(path, stat, trusted);
  if ((stat.mode & writableByOthers) !== 0 && (stat.mode & sticky) === 0) {
    const mode = (stat.mode & 0o7777).toString(8);
    throw unsafe(path, `has mode ${mode}: take the right to write from others (chmod go-w), or set the sticky bit`);
  }
}

/**
 * Resolves all symlinks of the folder's path. The folder, each of its parents and each symlink must belong to root or
 * to this process's user. A folder that others may write to must have the sticky bit. After the check, other users
 * cannot replace any part of the returned path.
 *
 * @throws Error ERR_UNSAFE_FOLDER. Node's own errors: ENOENT, EACCES, ELOOP. @internal
 */
export function safeFolder(folder: string): string {
  const trusted = new Set([0, process.geteuid?.() ?? 0]);
  const rest = (isAbsolute(folder) ? folder : `${process.cwd()}/${folder}`).split('/');
  let here = '/';
  let links = 0;
  checkFolder(here, lstatSync(here), trusted);
  for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
    if (name === '..') here = dirname(here);
    if (name === '' || name === '.' || name === '..') continue;
    const next = join(here, name);
    const stat = lstatSync(next);
    if (!stat.isSymbolicLink()) {
      checkFolder(next, stat, trusted);
      here = next;
      continue;
    }
    checkOwner(next, stat, trusted);
    links += 1;
    if (links > mostLinks) throw new FoundFailure('too many symbolic links', eLoop, 'lstat');
    const target = readlinkSync(next);
    if (isAbsolute(target)) here = '/';
    rest.unshift(...target.split('/'));
  }
  return here;
}
