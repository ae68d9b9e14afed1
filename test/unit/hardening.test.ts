// Checks the hardening by compiler and linker in the addon's ELF file. Node is the only requirement.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '../../lib/addon/native';
import { itNeeds } from '../needs';
import { x86 } from '../long/run/programs';

// elf(5), and the processor supplements
const PT_DYNAMIC = 2;
const PT_NOTE = 4;
const PT_GNU_STACK = 0x6474e551;
const PT_GNU_RELRO = 0x6474e552;
const PF_X = 1;
const SHT_DYNSYM = 11;
const DT_FLAGS = 30n;
const DT_FLAGS_1 = 0x6fff_fffbn;
const DF_BIND_NOW = 8n;
const DF_1_NOW = 1n;
const NT_GNU_PROPERTY_TYPE_0 = 5;
const EM_X86_64 = 62;
const EM_AARCH64 = 183;
/** GNU_PROPERTY_X86_FEATURE_1_AND: IBT and SHSTK; GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI and PAC. */
const properties: Record<number, { type: number; bits: number }> = {
  [EM_X86_64]: { type: 0xc000_0002, bits: 3 },
  [EM_AARCH64]: { type: 0xc000_0000, bits: 1 },
};

interface Symbol_ {
  name: string;
  value: number;
  defined: boolean;
}

/** A little-endian 64-bit ELF file. */
class Elf {
  readonly #bytes: Buffer;
  readonly machine: number;
  readonly segments: { type: number; flags: number; offset: number; address: number; size: number }[];
  readonly #sections: { type: number; offset: number; size: number; link: number }[];

  constructor(file: string) {
    const bytes = readFileSync(file);
    this.#bytes = bytes;
    assert.equal(bytes.toString('latin1', 0, 6), '\x7fELF\x02\x01');
    this.machine = bytes.readUInt16LE(18);
    const table = (at: number, size: number, count: number) =>
      Array.from({ length: bytes.readUInt16LE(count) }, (_, i) => this.#number(at) + i * bytes.readUInt16LE(size));
    this.segments = table(32, 54, 56).map((at) => ({
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      offset: this.#number(at + 8),
      address: this.#number(at + 16),
      size: this.#number(at + 32),
    }));
    this.#sections = table(40, 58, 60).map((at) => ({
      type: bytes.readUInt32LE(at + 4),
      offset: this.#number(at + 24),
      size: this.#number(at + 32),
      link: bytes.readUInt32LE(at + 40),
    }));
  }

  #number(at: number): number {
    return Number(this.#bytes.readBigUInt64LE(at));
  }

  segment(type: number) {
    return this.segments.find((segment) => segment.type === type);
  }

  get symbols(): Symbol_[] {
    const section = this.#sections.find(({ type }) => type === SHT_DYNSYM);
    if (!section) return [];
    const { offset: names } = this.#sections[section.link]!;
    return Array.from({ length: section.size / 24 }, (_, i) => {
      const at = section.offset + 24 * i;
      const name = names + this.#bytes.readUInt32LE(at);
      return {
        name: this.#bytes.toString('latin1', name, this.#bytes.indexOf(0, name)),
        value: this.#number(at + 8),
        defined: this.#bytes.readUInt16LE(at + 6) !== 0,
      };
    });
  }

  dynamic(tag: bigint): bigint {
    const { offset, size } = this.segment(PT_DYNAMIC)!;
    for (let at = offset; at < offset + size; at += 16) {
      if (this.#bytes.readBigUInt64LE(at) === tag) return this.#bytes.readBigUInt64LE(at + 8);
    }
    return 0n;
  }

  /** The file's bytes at a virtual address. */
  at(address: number, length: number): Buffer {
    const holds = this.segments.find(
      (one) => one.type === 1 && one.address <= address && address < one.address + one.size,
    );
    const offset = holds!.offset + address - holds!.address;
    return this.#bytes.subarray(offset, offset + length);
  }

  /** The bits of a GNU property. The linker keeps the bits that all linked objects have. */
  property(wanted: number): number {
    for (const { type, offset, size } of this.segments) {
      if (type !== PT_NOTE) continue;
      for (let at = offset; at + 16 <= offset + size;) {
        const length = this.#bytes.readUInt32LE(at + 4);
        const isProperty = this.#bytes.readUInt32LE(at + 8) === NT_GNU_PROPERTY_TYPE_0;
        const end = at + 16 + length;
        for (let item = at + 16; isProperty && item + 8 <= end;) {
          if (this.#bytes.readUInt32LE(item) === wanted) return this.#bytes.readUInt32LE(item + 8);
          item += 8 + ((this.#bytes.readUInt32LE(item + 4) + 7) & ~7);
        }
        at = (end + 7) & ~7;
      }
    }
    return 0;
  }
}

/** The missing properties of the start files that the compiler links into each program. No program can have these. */
function ofStartFiles(): string[] {
  try {
    return ['crti.o', 'crtbeginS.o'].map((name) =>
      execFileSync('c++', [`-print-file-name=${name}`], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim(),
    );
  } catch {
    return []; // no compiler here
  }
}

describe('the addon as the linker made it', () => {
  assert(native.pageSize > 0n); // loads the addon
  const file = Object.keys(require.cache).find((name) => name.endsWith('vfio_dmabuf.node'))!;
  const elf = new Elf(file);
  const imported = new Set(elf.symbols.filter(({ defined }) => !defined).map(({ name }) => name));
  const sanitized = [...imported].some((name) => name.startsWith('__asan_'));

  it('exports what Node looks for, and nothing else', () => {
    // A symbol of a section has no name.
    const exported = elf.symbols.filter(({ name, defined }) => name && defined).map(({ name }) => name);
    assert.deepEqual(exported.sort(), ['napi_register_module_v1', 'node_api_module_get_api_version_v1']);
  });

  it('has its relocations done before it runs, and read-only from then on (full RELRO)', () => {
    assert(elf.segment(PT_GNU_RELRO), 'no PT_GNU_RELRO');
    const now = (elf.dynamic(DT_FLAGS) & DF_BIND_NOW) !== 0n || (elf.dynamic(DT_FLAGS_1) & DF_1_NOW) !== 0n;
    assert(now, 'neither DF_BIND_NOW nor DF_1_NOW');
  });

  it('has no executable stack', () => {
    const stack = elf.segment(PT_GNU_STACK);
    assert(stack, 'no PT_GNU_STACK');
    assert.equal(stack.flags & PF_X, 0);
  });

  it('checks its stack frames', () =>
    assert(imported.has('__stack_chk_fail') || imported.has('__stack_chk_guard'), 'no stack protector'));

  it('calls the checked functions of the C library (_FORTIFY_SOURCE)', function () {
    // musl has no such functions, and sanitizers do not use them.
    const { glibcVersionRuntime } = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header;
    if (sanitized || glibcVersionRuntime === undefined) this.skip();
    const checked = [...imported].filter((name) => /^__\w+_chk(@|$)/.test(name) && !name.startsWith('__stack'));
    assert(checked.length > 0, [...imported].join(' '));
  });

  it('begins its functions with landing pads (CET, BTI)', function () {
    const pads: Record<number, string[]> = {
      [EM_X86_64]: ['f30f1efa'], // endbr64
      [EM_AARCH64]: ['5f2403d5', '3f2303d5'], // bti c; paciasp also is a landing pad
    };
    const wanted = pads[elf.machine];
    if (!wanted) this.skip();
    for (const { name, value, defined } of elf.symbols) {
      if (defined) assert(wanted.includes(elf.at(value, 4).toString('hex')), name);
    }
  });

  it('says that it has them, where the toolchain’s own objects say so', function () {
    // The linker writes the note only if every object has it, including the compiler's start files. Debian's start
    // files lack it, so the note is missing there, although the addon has the landing pads.
    const wanted = properties[elf.machine];
    const startFiles = ofStartFiles();
    if (!wanted || startFiles.length === 0) this.skip();
    const marked = startFiles.every((name) => {
      const bytes = readFileSync(name);
      const at = bytes.indexOf(Buffer.from('GNU\0'));
      const type = Buffer.alloc(4);
      type.writeUInt32LE(wanted.type);
      return at >= 0 && bytes.indexOf(type, at) >= 0;
    });
    if (!marked) this.skip();
    assert.equal(elf.property(wanted.type) & wanted.bits, wanted.bits);
  });
});

describe('the preload library of vfio-dmabuf run, as the linker made it', () => {
  const preload = () => new Elf(native.runLibrary() ?? '');

  itNeeds([x86], 'exports the functions that it replaces, and no C++, which the program would use', () => {
    const list = readFileSync(join(__dirname, '../../native/preload/names.inc'), 'utf8');
    const names = [...list.matchAll(/^(?:NAME|TWIN)\([^,]+, (\w+)/gm)].map(([, name]) => name);
    assert(names.length > 100);
    const exported = preload().symbols.filter(({ name, defined }) => name && defined);
    assert.deepEqual(exported.map(({ name }) => name).sort(), names.sort());
  });

  itNeeds([x86], 'has full RELRO and no executable stack', () => {
    const elf = preload();
    assert(elf.segment(PT_GNU_RELRO));
    assert.notEqual((elf.dynamic(DT_FLAGS) & DF_BIND_NOW) | (elf.dynamic(DT_FLAGS_1) & DF_1_NOW), 0n);
    assert.equal((elf.segment(PT_GNU_STACK)?.flags ?? PF_X) & PF_X, 0);
  });
});
