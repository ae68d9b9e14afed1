// Finds a program, and tells why a preload library cannot be used with it.
import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { codedError } from '../errors/errors';
import { attempt } from '../kernel/look';

function isProgram(path: string): boolean {
  const found = attempt(() => {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  });
  return found ?? false;
}

/** Finds a program as execvp(3) does. @throws Error ERR_NO_SUCH_PROGRAM */
export function findProgram(name: string): string {
  const candidates = name.includes('/')
    ? [name]
    : (process.env['PATH'] ?? '/usr/bin:/bin').split(delimiter).map((folder) => join(folder || '.', name));
  const found = candidates.find(isProgram);
  if (found === undefined) throw codedError('ERR_NO_SUCH_PROGRAM', `there is no program '${name}'`);
  return found;
}

/** The parts of an ELF file that matter here. */
interface Elf {
  is64: boolean;
  machine: number;
  /** The dynamic loader; undefined: a static program. */
  interpreter: string | undefined;
  isGo: boolean;
}

const elfHeader = { size: 64, magic: 0x7f454c46, class: 4, machine: 18, phoff: 32, shoff: 40, phentsize: 54 } as const;
const x8664 = 62;
const interpreterType = 3;
const noteType = 4;
/** The owner's name in the note with which Go's linker marks a program. */
const goNote = Buffer.from('Go\0\0');
/** The first bytes of the information about its build in a program of Go. */
const goInformation = Buffer.from('\xff Go buildinf:', 'latin1');

function readAt(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
}

function readElf(fd: number): Elf {
  const header = readAt(fd, 0, elfHeader.size);
  const elf: Elf = {
    is64: header[elfHeader.class] === 2,
    machine: header.readUInt16LE(elfHeader.machine),
    interpreter: undefined,
    isGo: false,
  };
  if (!elf.is64) return elf;
  const [size, count] = [header.readUInt16LE(elfHeader.phentsize), header.readUInt16LE(elfHeader.phentsize + 2)];
  const table = readAt(fd, Number(header.readBigUInt64LE(elfHeader.phoff)), size * count);
  for (let at = 0; at + 56 <= table.length; at += size) {
    const type = table.readUInt32LE(at);
    const [offset, length] = [Number(table.readBigUInt64LE(at + 8)), Number(table.readBigUInt64LE(at + 32))];
    if (type === interpreterType) {
      elf.interpreter = readAt(fd, offset, Math.min(length, 4096)).toString('latin1').replace(/\0.*$/s, '');
    } else if (type === noteType) {
      elf.isGo ||= readAt(fd, offset, Math.min(length, 4096)).includes(goNote);
    } else if (type === 1 && (table.readUInt32LE(at + 4) & 2) !== 0) {
      // The information is at the begin of the writable data.
      elf.isGo ||= readAt(fd, offset, 16).includes(goInformation);
    }
  }
  return elf;
}

/** The dynamic loader of this process: that of the C library for which the preload library was built. */
function ownLoader(): string | undefined {
  const fd = openSync('/proc/self/exe', 'r');
  try {
    return readElf(fd).interpreter;
  } finally {
    closeSync(fd);
  }
}

const cannot = (path: string, why: string): Error =>
  codedError('ERR_PROGRAM_NOT_SUPPORTED', `${path} cannot see the fake machine: ${why}`);

/**
 * Checks that the preload library will see the calls of a program. A script's interpreter is checked.
 *
 * @throws Error ERR_PROGRAM_NOT_SUPPORTED
 */
export function checkProgram(path: string, depth = 0): void {
  const fd = openSync(path, 'r');
  try {
    const start = readAt(fd, 0, 256);
    const interpreter = /^#![ \t]*(\S+)(?:[ \t]+(\S+))?/.exec(start.toString('latin1'));
    if (interpreter && depth < 5) {
      const [, program = '', argument = ''] = interpreter;
      const isEnv = basename(program) === 'env' && argument !== '' && !argument.startsWith('-');
      checkProgram(isEnv ? findProgram(argument) : program, depth + 1);
      return;
    }
    if (start.length < elfHeader.size || start.readUInt32BE(0) !== elfHeader.magic) return; // exec tells
    const { is64, machine, interpreter: loader, isGo } = readElf(fd);
    if (!is64 || machine !== x8664) throw cannot(path, 'it is not a program for x86-64');
    if (isGo) {
      throw cannot(path, 'it is written in Go, whose programs make system calls without the C library');
    }
    if (loader === undefined) {
      throw cannot(path, 'it is statically linked, and a preload library works only in dynamically linked programs');
    }
    const own = ownLoader();
    if (own !== undefined && basename(own) !== basename(loader)) {
      throw cannot(path, `it uses another C library (${loader}) than this one (${own})`);
    }
    const { mode, uid, gid } = statSync(path);
    const changesUser = (mode & 0o4000) !== 0 && uid !== process.geteuid?.();
    const changesGroup = (mode & 0o2000) !== 0 && gid !== process.getegid?.();
    if (changesUser || changesGroup) {
      throw cannot(path, 'it changes its user or group when it starts (set-user-ID), and ignores preload libraries');
    }
  } finally {
    closeSync(fd);
  }
}
