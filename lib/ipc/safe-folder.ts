// Folders in which nobody but root and this process's user can exchange what has a name.
import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { constants } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { codedError, FoundFailure } from '../errors/errors';

const sticky = 0o1000; // only the owner of a file, or of the folder, may rename or remove it
const writableByOthers = 0o022;
const eLoop = constants.errno.ELOOP;
const mostLinks = 40; // as many as Linux follows

function unsafe(path: string, why: string): Error {
  return codedError('ERR_UNSAFE_FOLDER', `others could put something else in the socket's place: ${path} ${why}`);
}

function checkOwner(path: string, { uid }: Stats, trusted: ReadonlySet<number>): void {
  if (!trusted.has(uid)) throw unsafe(path, `belongs to user ${String(uid)}`);
}

function checkFolder(path: string, stat: Stats, trusted: ReadonlySet<number>): void {
  if (!stat.isDirectory()) return; // what is done in it tells: ENOTDIR
  checkOwner(path, stat, trusted);
  if ((stat.mode & writableByOthers) !== 0 && (stat.mode & sticky) === 0) {
    const mode = (stat.mode & 0o7777).toString(8);
    throw unsafe(path, `has mode ${mode}: take the right to write from others (chmod go-w), or set the sticky bit`);
  }
}

/**
 * The folder's path without symlinks. The folder, each one above it and each symlink on the way must belong to root or to
 * this process's user; a folder that others may write to must have the sticky bit. What is checked cannot be exchanged by
 * others afterwards.
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
