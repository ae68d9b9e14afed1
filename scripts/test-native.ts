// npm run test:native: tests of native code outside Node. They check that SIGBUS handlers of other native code still
// work, at several optimization levels, and which instructions a register access compiles to: on this machine's
// architecture and, if its compiler is installed, on 64-bit Arm (g++-aarch64-linux-gnu).
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';

import { root } from './cmake';

const folder = 'test/native-programs';
const out = path.join(root, 'build/native');
const flags = ['-std=c++20', '-Wall', '-Wextra', '-Wconversion', '-Inative', '-pthread'];
const patience = 120_000;

let failures = 0;
function check(title: string, good: boolean, detail = ''): void {
  console.log(`${good ? 'ok' : 'FAILED'}: ${title}${good ? '' : `\n${detail}`}`);
  if (!good) failures += 1;
}

/** Runs a program. Returns its output; undefined: there is no such program. */
function run(command: string, args: readonly string[]): { text: string; end: string } | undefined {
  const { error, stdout, stderr, status, signal } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    timeout: patience,
    killSignal: 'SIGKILL',
  });
  if (error && (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  return { text: stdout + stderr, end: signal ?? String(status) };
}

// ---- Bus errors ----

const cases: Record<string, string> = {
  'another handler before': 'guarded other 3',
  'another handler after': 'guarded other 3',
  'a handler after that calls the one it replaced': 'guarded chained SIGBUS',
  'a handler that mends its own': 'mended zero guarded 0',
  'an access that is not of a register': 'guarded SIGBUS',
  'each width, loads and stores': 'guarded 0',
  'several threads at once': 'guarded 0',
  'a handler of an event loop takes no fault': 'noted SIGBUS',
  'a signal that is ignored': 'ignored SIGBUS',
  'a signal that is sent during an access': 'SIGBUS',
  'a range that goes while another thread faults': 'kept 0',
};

const compilers = [
  ['g++', '-O2'],
  ['g++', '-O3', '-flto'],
  ['clang++-19', '-O3'],
] as const;

function testBusErrors([compiler, ...optimize]: readonly [string, ...string[]]): void {
  const title = [compiler, ...optimize].join(' ');
  const program = path.join(out, `bus-errors-${title.replace(/\W+/g, '-')}`);
  const sources = [`${folder}/bus_errors.cc`, 'native/core/bus_error.cc'];
  const built = run(compiler, [...flags, ...optimize, ...sources, '-o', program]);
  if (!built) {
    console.log(`not installed: ${compiler}`);
    return;
  }
  check(`${title} compiles`, built.end === '0', built.text);
  if (built.end !== '0') return;
  for (const [name, wanted] of Object.entries(cases)) {
    const { text = '', end = '' } = run(program, [name]) ?? {};
    check(`${title}: ${name}`, text + end === wanted, `it said: ${text.slice(0, 200)}${end}`);
  }
}

// ---- Registers ----

const loaded = (load: string) => [load, 'dmb oshld', 'eor', 'cbnz'];
const stored = (store: string) => ['dmb oshst', store];
const armAccesses: Record<string, string[]> = {
  load8: loaded('ldrb w'),
  load16: loaded('ldrh w'),
  load32: loaded('ldr w'),
  load64: loaded('ldr x'),
  store8: stored('strb w'),
  store16: stored('strh w'),
  store32: stored('str w'),
  store64: stored('str x'),
  load_two: [...loaded('ldr w'), 'str w', ...loaded('ldr w'), 'str w'],
  store_two: ['ldr w', ...stored('str w'), 'ldr w', ...stored('str w')],
};
const intelAccesses: Record<string, RegExp[]> = {
  load8: [/^movzbl? +\(%rdi\)/],
  load16: [/^movzwl? +\(%rdi\)/],
  load32: [/^mov +\(%rdi\),%e/],
  load64: [/^mov +\(%rdi\),%r/],
  store8: [/^movb? +%sil,\(%rdi\)/],
  store16: [/^mov +%si,\(%rdi\)/],
  store32: [/^mov +%esi,\(%rdi\)/],
  store64: [/^mov +%rsi,\(%rdi\)/],
  load_two: [/^mov +\(%rdi\)/, /,\(%rsi\)/, /^mov +0x4\(%rdi\)/, /,0x4\(%rsi\)/],
  store_two: [/\(%rsi\)/, /^mov +%.*,\(%rdi\)/, /0x4\(%rsi\)/, /^mov +%.*,0x4\(%rdi\)/],
};

/** The instructions of each function, without their addresses. */
function disassemble(compiler: string, objdump: string, optimize: string): Map<string, string[]> | undefined {
  const object = path.join(out, `registers-${compiler}${optimize}.o`);
  const built = run(compiler, [...flags, optimize, '-c', `${folder}/registers.cc`, '-o', object]);
  if (!built) return undefined;
  if (built.end !== '0') throw new Error(built.text);
  const functions = new Map<string, string[]>();
  let current: string[] = [];
  for (const line of (run(objdump, ['-d', '--no-show-raw-insn', object])?.text ?? '').split('\n')) {
    const [, name] = /^[0-9a-f]+ <(\w+)>:$/.exec(line) ?? [];
    if (name !== undefined) functions.set(name, (current = []));
    const [, instruction] = /^\s+[0-9a-f]+:\s+(.*)$/.exec(line) ?? [];
    if (instruction !== undefined) current.push(instruction.replace(/\s+/g, ' ').trim());
  }
  return functions;
}

const touchesMemory = (instruction: string) => /^(ldr|str|ldp|stp|dmb|eor|cbnz)/.test(instruction);

function testRegisters(): void {
  for (const optimize of ['-O2', '-O3']) {
    const arm = disassemble('aarch64-linux-gnu-g++', 'aarch64-linux-gnu-objdump', optimize);
    if (!arm) console.log('not installed: aarch64-linux-gnu-g++');
    for (const [name, wanted] of arm ? Object.entries(armAccesses) : []) {
      const found = (arm?.get(name) ?? []).filter(touchesMemory);
      const good = found.length === wanted.length && wanted.every((start, i) => found[i]?.startsWith(start));
      check(`${name} on 64-bit Arm, ${optimize}`, good, found.join('\n'));
    }
    if (process.arch !== 'x64') continue;
    const intel = disassemble('g++', 'objdump', optimize);
    if (!intel) console.log('not installed: g++');
    for (const [name, wanted] of intel ? Object.entries(intelAccesses) : []) {
      const found = (intel?.get(name) ?? []).filter((each) => each.includes('(') && !each.includes('nop'));
      const good = found.length === wanted.length && wanted.every((form, i) => form.test(found[i] ?? ''));
      check(`${name} on x86-64, ${optimize}`, good, found.join('\n'));
    }
  }
}

mkdirSync(out, { recursive: true });
compilers.forEach(testBusErrors);
testRegisters();
console.log(failures === 0 ? 'test:native: passed' : `test:native: ${failures} FAILED`);
process.exitCode = failures === 0 ? 0 : 1;
