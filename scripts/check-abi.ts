// Compares native/uapi with the kernel's own headers: every struct's size, each field's offset and size, every constant
// and request code.
//
//   npm run check:abi [-- DIR]      DIR has linux/vfio.h; default: $VFIO_DMABUF_UAPI, or /usr/include if new enough
//
// Our headers declare structs and constants under the kernel's names. One probe program, which prints the value of each
// name, is compiled with our headers and with the kernel's, and must print the same.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { leftOut } from './abi/left-out';

const systemHeaders = '/usr/include';
// The kernel's headers must define this name to be compared. Linux 6.19 added it.
const newest = 'VFIO_DEVICE_FEATURE_DMA_BUF';
// Kernel headers, besides the one of the same name, whose constants one of our headers declares. They may come from the
// compiler's own include folders.
const alsoIncludes: Record<string, readonly string[]> = { 'dma_buf.h': ['linux/magic.h'] };

// Our headers of interfaces that have no kernel header: their structs are only in the kernel's sources.
const unpublished: readonly string[] = ['sw_sync.h'];

type Kind = 'struct' | 'field' | 'constant';

/** One item to compare: its name in the report, and the C++ statement that prints it. */
interface Item {
  kind: Kind;
  name: string;
  probe: string;
}

export interface HeaderReport {
  header: string;
  structs: number;
  fields: number;
  constants: number;
  differences: string[];
}

// ---- Reading our headers ----

function unread(header: string, text: string): Error {
  return new Error(`${header}: check-abi cannot read this declaration: ${text.trim().split('\n')[0] ?? ''}`);
}

/** Returns the text up to the brace that closes the one at `open`. */
function braced(header: string, text: string, open: number): string {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === '{') depth++;
    if (text[at] === '}' && --depth === 0) return text.slice(open + 1, at);
  }
  throw unread(header, text.slice(open));
}

/**
 * The fields of a struct's body, in the form that offsetof takes. Members of an unnamed union or struct count as the
 * struct's.
 */
function fieldsOf(header: string, body: string): { name: string; flexible: boolean }[] {
  const fields: { name: string; flexible: boolean }[] = [];
  let rest = body.trim();
  while (rest !== '') {
    const nested = /^(?:struct|union)\s*\{/.exec(rest);
    if (nested) {
      const inner = braced(header, rest, nested[0].length - 1);
      const end = /^\s*(\w*)\s*;/.exec(rest.slice(nested[0].length + inner.length + 1));
      if (!end) throw unread(header, rest);
      const name = end[1] ?? '';
      if (name !== '') fields.push({ name, flexible: false });
      for (const field of fieldsOf(header, inner)) {
        fields.push({ ...field, name: name === '' ? field.name : `${name}.${field.name}` });
      }
      rest = rest.slice(nested[0].length + inner.length + 1 + end[0].length).trim();
      continue;
    }
    const field =
      /^(?:alignas\(\w+\)\s*)?(?:\w+(?:::\w+)*\s+)+(\w+)\s*((?:\[[^\]]*\])*)(?:\s*=[^;]*|\s*\{\s*\})?;/.exec(rest);
    if (!field?.[1]) throw unread(header, rest);
    fields.push({ name: field[1], flexible: /^\[\s*\]/.test(field[2] ?? '') });
    rest = rest.slice(field[0].length).trim();
  }
  return fields;
}

/** Returns the items of one of our headers. Throws an error for a declaration that it cannot parse. */
export function parseHeader(header: string, source: string): Item[] {
  const text = source.replace(/\/\/.*$/gm, '').replace(/\/\*.*?\*\//gs, '');
  const namespace = /\bnamespace\s+uapi\s*\{/.exec(text);
  if (!namespace) throw new Error(`${header}: no namespace uapi`);
  const items: Item[] = [];
  let rest = braced(header, text, namespace.index + namespace[0].length - 1).trim();
  while (rest !== '') {
    const struct = /^struct\s+(\w+)\s*\{/.exec(rest);
    const constant = /^(?:inline\s+)?constexpr\s+(?:[\w:]+\s+)+(\w+)\s*(?:=(?:'[^']*'|[^;'])*|\{[^;]*\});/.exec(rest);
    const callable = /^(?:inline\s+)?constexpr\s+(?:[\w:]+\s+)+\w+\s*\([^)]*\)\s*\{/.exec(rest);
    const nothing = /^(?:static_assert\b|using\b)[^;]*;/.exec(rest);
    let length: number;
    if (struct?.[1]) {
      const type = struct[1];
      const body = braced(header, rest, struct[0].length - 1);
      length = struct[0].length + body.length + 1;
      if (!rest.slice(length).trimStart().startsWith(';')) throw unread(header, rest);
      length = rest.indexOf(';', length) + 1;
      items.push({ kind: 'struct', name: type, probe: `printf("%lu bytes", sizeof(struct ${type}));` });
      for (const { name, flexible } of fieldsOf(header, body)) {
        const size = flexible ? '0UL' : `sizeof(static_cast<struct ${type}*>(nullptr)->${name})`;
        const offset = `__builtin_offsetof(struct ${type}, ${name})`;
        const probe = `printf("%lu bytes at offset %lu", ${size}, ${offset});`;
        items.push({ kind: 'field', name: `${type}.${name}`, probe });
      }
    } else if (constant?.[1]) {
      items.push({ kind: 'constant', name: constant[1], probe: `printf("0x%llx", Bits(${constant[1]}));` });
      length = constant[0].length;
    } else if (callable) {
      length = callable[0].length + braced(header, rest, callable[0].length - 1).length + 1;
    } else if (nothing) {
      length = nothing[0].length;
    } else {
      throw unread(header, rest);
    }
    rest = rest.slice(length).trim();
  }
  return items;
}

// ---- Running a compiler ----

/** $CXX, or the first C++ compiler that runs, with its arguments. */
function findCompiler(): string[] {
  const chosen = process.env['CXX']?.trim();
  if (chosen) return chosen.split(/\s+/);
  const found = ['g++', 'c++', 'clang++'].find((name) => spawnSync(name, ['--version']).status === 0);
  if (found === undefined) throw new Error('no C++ compiler: install g++, or name one with CXX');
  return [found];
}

/**
 * Compiles and runs the probe with one set of headers. Returns the printed value of each item; undefined if the
 * compiler reports an error for the item.
 */
function probe(
  items: readonly Item[],
  folder: string,
  prologue: readonly string[],
  flags: readonly string[],
): (string | undefined)[] {
  const [compiler, ...compilerArguments] = findCompiler() as [string, ...string[]];
  const source = path.join(folder, 'probe.cc');
  const program = path.join(folder, 'probe');
  // No libc header is included, so that none conflicts with the kernel's. A value is compared by the bits of its own
  // width: the kernel's (1 << 31) is an int, ours is unsigned.
  const lines = [
    ...prologue,
    'extern "C" int printf(const char*, ...);',
    'template <typename T> unsigned long long Bits(T value) {',
    '  const auto bits = static_cast<unsigned long long>(value);',
    '  return sizeof(T) < sizeof(bits) ? bits & ((1ULL << (8 * sizeof(T))) - 1) : bits;',
    '}',
    'int main() {',
  ];
  const first = lines.length + 1;
  const absent = new Set<number>();
  for (;;) {
    const statements = items.map(({ probe }, index) =>
      absent.has(index) ? '' : `printf("${index} "); ${probe} printf("\\n");`,
    );
    writeFileSync(source, [...lines, ...statements, '}', ''].join('\n'));
    const compiled = spawnSync(
      compiler,
      [...compilerArguments, '-std=c++20', '-w', '-fno-diagnostics-color', ...flags, '-o', program, source],
      { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } },
    );
    if (compiled.error) throw compiled.error;
    if (compiled.status === 0) break;
    // Each item is one line of the probe, so a compiler error on a line belongs to its item.
    const blamed = [...compiled.stderr.matchAll(/probe\.cc:(\d+):/g)]
      .map(([, line]) => Number(line) - first)
      .filter((index) => index >= 0 && index < items.length && !absent.has(index));
    if (blamed.length === 0) throw new Error(`the probe does not compile:\n${compiled.stderr}`);
    for (const index of blamed) absent.add(index);
  }
  const { stdout, status, signal } = spawnSync(program, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the probe ended with ${signal ?? status}`);
  const values = new Map(
    stdout
      .trim()
      .split('\n')
      .map((line): [number, string] => [parseInt(line), line.slice(line.indexOf(' ') + 1)]),
  );
  return items.map((_, index) => values.get(index));
}

function ourHeaders(native: string): string[] {
  const names = readdirSync(path.join(native, 'uapi')).filter((name) => name.endsWith('.h'));
  return names.filter((name) => !unpublished.includes(name)).sort();
}

/** The requests of the kernel's headers that ours lack and that left-out.ts does not list. */
export function lacking(native: string, kernel: string): string[] {
  const read = (file: string) => readFileSync(file, 'utf8');
  const headers = ourHeaders(native).filter((name) => name !== 'ioctl.h');
  const ours = new Set(
    headers.flatMap((name) => parseHeader(name, read(path.join(native, 'uapi', name))).map((item) => item.name)),
  );
  return headers
    .flatMap((name) => {
      const text = read(path.join(kernel, kernelHeader(kernel, name))).replaceAll('\\\n', ' ');
      const requests = text.matchAll(/^#define[ \t]+(\w+)[ \t]+_IO[WR]*[ \t]*\(/gm);
      const features = text.matchAll(/^#define[ \t]+(VFIO_DEVICE_FEATURE_\w+)[ \t]+\(?\d+\)?\s/gm);
      return [...requests, ...features].map(([, request]) => request ?? '');
    })
    .filter((request) => !ours.has(request) && leftOut[request] === undefined);
}

/** The kernel's header for one of ours: linux/dma-buf.h for dma_buf.h, linux/sync_file.h for sync_file.h. */
function kernelHeader(kernel: string, header: string): string {
  const found = [header, header.replaceAll('_', '-')].find((name) => existsSync(path.join(kernel, 'linux', name)));
  if (found === undefined) throw new Error(`${kernel} has no linux/${header.replaceAll('_', '-')} to compare with`);
  return `linux/${found}`;
}

/**
 * Compares the headers in `native`/uapi with those in `kernel`/linux.
 *
 * @param native The folder from which our headers are included as uapi/NAME.h.
 * @param kernel The folder from which the kernel's are included as linux/NAME.h.
 */
export function compareAbi(native: string, kernel: string): HeaderReport[] {
  const headers = ourHeaders(native)
    .map((header) => ({ header, items: parseHeader(header, readFileSync(path.join(native, 'uapi', header), 'utf8')) }))
    .filter(({ items }) => items.length > 0); // ioctl.h has only functions
  const include = (name: string): string => `#include <${name}>`;
  const ours = headers.map(({ header }) => include(`uapi/${header}`));
  const theirs = headers.flatMap(({ header }) => [kernelHeader(kernel, header), ...(alsoIncludes[header] ?? [])]);
  // As -isystem, the compiler's own include folder would hide the C++ library's wrappers of its headers.
  const isystem = path.resolve(kernel) === systemHeaders ? [] : ['-isystem', kernel];

  const items = headers.flatMap((header) => header.items);
  const folder = mkdtempSync(path.join(tmpdir(), 'check-abi-'));
  try {
    const our = probe(items, folder, [...ours, 'using namespace uapi;'], ['-I', native]);
    const their = probe(items, folder, theirs.map(include), [...isystem, '-D__counted_by(member)=']);
    let index = 0;
    return headers.map(({ header, items }) => {
      const count = (kind: Kind): number => items.filter((item) => item.kind === kind).length;
      const differences: string[] = [];
      for (const { name } of items) {
        const [mine, real] = [our[index], their[index]];
        index++;
        if (mine === undefined) throw new Error(`${header}: ${name} does not compile`);
        if (mine !== real) differences.push(`${name} is ${mine} here, ${real ?? 'not there'} in the kernel`);
      }
      return {
        header,
        structs: count('struct'),
        fields: count('field'),
        constants: count('constant'),
        differences,
      };
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

// ---- The command ----

function newEnough(folder: string): boolean {
  const header = path.join(folder, 'linux/vfio.h');
  return existsSync(header) && readFileSync(header, 'utf8').includes(newest);
}

/** The kernel headers to compare with; undefined when none were given and the system's are too old. */
function chooseKernelHeaders(given: string | undefined): string | undefined {
  const named = given ?? process.env['VFIO_DMABUF_UAPI'];
  if (!named) return newEnough(systemHeaders) ? systemHeaders : undefined;
  if (!newEnough(named)) throw new Error(`${named}/linux/vfio.h does not exist or lacks ${newest} (Linux 6.19)`);
  return path.resolve(named);
}

function main(given: string | undefined): number {
  const kernel = chooseKernelHeaders(given);
  if (kernel === undefined) {
    console.log(
      `check:abi: SKIPPED, nothing was compared: ${systemHeaders}/linux/vfio.h is older than Linux 6.19 (or missing). ` +
        'Name a folder with newer headers: npm run check:abi -- DIR, or VFIO_DMABUF_UAPI=DIR',
    );
    return 0;
  }
  console.log(`check:abi: native/uapi against ${kernel}`);
  const reports = compareAbi(path.resolve(__dirname, '../native'), kernel);
  for (const { header, structs, fields, constants, differences } of reports) {
    const verdict = differences.length === 0 ? 'identical' : `${differences.length} differ`;
    console.log(`${header}: ${structs} structs, ${fields} fields, ${constants} constants, ${verdict}`);
    for (const difference of differences) console.log(`  ${difference}`);
  }
  const gaps = lacking(path.resolve(__dirname, '../native'), kernel);
  for (const request of gaps) console.log(`${request} is in the kernel's headers and not in ours`);
  return gaps.length === 0 && reports.every(({ differences }) => differences.length === 0) ? 0 : 1;
}

if (require.main === module) {
  try {
    process.exitCode = main(process.argv[2]);
  } catch (error) {
    console.error(`check:abi: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
