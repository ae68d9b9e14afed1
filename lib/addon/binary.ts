// Examines an addon's file before it is loaded: the dynamic linker ends the process with SIGBUS if the file is truncated.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** The machines of elf(5), in Node's words. */
const machines: Record<number, string> = {
  3: 'ia32',
  22: 's390x',
  40: 'arm',
  62: 'x64',
  183: 'arm64',
  243: 'riscv64',
  258: 'loong64',
};

/** What an addon's file is: `whole` is false if its end is missing; `arch` is undefined if it is no ELF file. */
export interface Binary {
  whole: boolean;
  arch: string | undefined;
}

/** @internal */
export function examine(file: string): Binary {
  const fd = openSync(file, 'r');
  try {
    const head = Buffer.alloc(64);
    const length = readSync(fd, head, 0, head.length, 0);
    const isElf = length >= 4 && head.toString('latin1', 0, 4) === '\x7fELF';
    if (!isElf) return { whole: length > 4, arch: undefined };
    if (length < head.length) return { whole: false, arch: undefined };
    const little = head[5] === 1;
    const u16 = (at: number): number => (little ? head.readUInt16LE(at) : head.readUInt16BE(at));
    const u32 = (at: number): number => (little ? head.readUInt32LE(at) : head.readUInt32BE(at));
    const u64 = (at: number): number => Number(little ? head.readBigUInt64LE(at) : head.readBigUInt64BE(at));
    // Linkers write the table of sections last.
    const wide = head[4] === 2;
    const end = wide ? u64(40) + u16(58) * u16(60) : u32(32) + u16(46) * u16(48);
    const machine = u16(18);
    const arch = machine === 21 ? 'ppc64' : (machines[machine] ?? `machine ${machine}`);
    return { whole: fstatSync(fd).size >= end, arch };
  } finally {
    closeSync(fd);
  }
}
