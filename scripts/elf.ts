// Reads what a shared library needs of other libraries, from its ELF file (elf(5)).
import { readFileSync } from 'node:fs';

const SHT_DYNAMIC = 6;
const SHT_GNU_VERNEED = 0x6fff_fffe;
const DT_NEEDED = 1n;

const machines: Record<number, string> = { 62: 'x64', 183: 'arm64' };

export interface Needs {
  /** The architecture, in Node's words. */
  arch: string;
  libraries: string[];
  /** Symbol versions by library, such as 'GLIBC_2.17' of 'libc.so.6'. */
  versions: { library: string; version: string }[];
}

/** Reads a little-endian 64-bit ELF file. */
export function readNeeds(file: string): Needs {
  const bytes = readFileSync(file);
  if (bytes.toString('latin1', 0, 6) !== '\x7fELF\x02\x01') throw new Error(`${file} is no 64-bit ELF file`);
  const number = (at: number): number => Number(bytes.readBigUInt64LE(at));
  const sections = Array.from({ length: bytes.readUInt16LE(60) }, (_, i) => {
    const at = number(40) + i * bytes.readUInt16LE(58);
    return {
      ...{ type: bytes.readUInt32LE(at + 4), offset: number(at + 24), size: number(at + 32) },
      ...{ link: bytes.readUInt32LE(at + 40), entries: bytes.readUInt32LE(at + 44) },
    };
  });
  const text = (section: { link: number }, at: number): string => {
    const start = (sections[section.link]?.offset ?? 0) + at;
    return bytes.toString('latin1', start, bytes.indexOf(0, start));
  };

  const libraries: string[] = [];
  const dynamic = sections.find(({ type }) => type === SHT_DYNAMIC);
  if (!dynamic) throw new Error(`${file} has no dynamic section`);
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    if (bytes.readBigUInt64LE(at) === DT_NEEDED) libraries.push(text(dynamic, number(at + 8)));
  }

  const versions: Needs['versions'] = [];
  const needed = sections.find(({ type }) => type === SHT_GNU_VERNEED);
  for (let i = 0, at = needed?.offset ?? 0; needed && i < needed.entries; i++) {
    const library = text(needed, bytes.readUInt32LE(at + 4));
    for (let j = 0, aux = at + bytes.readUInt32LE(at + 8); j < bytes.readUInt16LE(at + 2); j++) {
      versions.push({ library, version: text(needed, bytes.readUInt32LE(aux + 8)) });
      aux += bytes.readUInt32LE(aux + 12);
    }
    at += bytes.readUInt32LE(at + 12);
  }
  return { arch: machines[bytes.readUInt16LE(18)] ?? 'unknown', libraries, versions };
}
