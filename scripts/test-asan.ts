// npm run test:asan: runs the whole suite on an addon that is built with AddressSanitizer, LeakSanitizer and
// UndefinedBehaviorSanitizer. First it checks that LeakSanitizer finds a planted leak.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';

import { cmakeJs, root } from './cmake';
import { exitWith } from './exit';
import { runSuite } from './suite';

const out = 'build/sanitize';
const addon = path.join(root, out, 'Release/vfio_dmabuf.node');
const notCopied = ['node_modules', 'build', '.git', '.vfio-dmabuf'];

const environment = {
  // SIGBUS is the library's to handle: tests send it.
  ASAN_OPTIONS: 'detect_leaks=1:handle_sigbus=0',
  LSAN_OPTIONS: `suppressions=${path.join(root, 'scripts/sanitize/leaks.supp')}:print_suppressions=0`,
  UBSAN_OPTIONS: 'print_stacktrace=1',
};

function build(plantLeak: boolean): void {
  const options = ['-O', out, '--CDVFIO_DMABUF_SANITIZE=address;undefined'];
  const status =
    cmakeJs('configure', [...options, `--CDVFIO_DMABUF_PLANT_LEAK=${plantLeak ? 'ON' : 'OFF'}`]) ||
    cmakeJs('build', ['-O', out]);
  if (status !== 0) throw new Error(`the build with sanitizers failed (${status})`);
}

/** The sanitizers' runtimes. The process must load them before the addon. */
function runtimes(): string[] {
  const found = [...execFileSync('ldd', [addon], { encoding: 'utf8' }).matchAll(/=> (\S*lib(?:asan|ubsan)\S*)/g)];
  if (found.length !== 2) throw new Error('the addon is not linked with libasan and libubsan: build it with g++');
  return found.map(([, file]) => file ?? '');
}

/**
 * Writes a wrapper named `node` into `bin` that preloads the runtimes. Processes that a test starts by
 * `process.execPath` preload them, too. Other programs (a compiler, a shell) do not.
 */
function makeNode(bin: string): string {
  const node = path.join(bin, 'node');
  const preload = path.join(bin, 'preload.cjs');
  mkdirSync(bin);
  writeFileSync(preload, `delete process.env.LD_PRELOAD;\nprocess.execPath = ${JSON.stringify(node)};\n`);
  const run = `exec '${process.execPath}' --require '${preload}' "$@"`;
  writeFileSync(node, `#!/bin/sh\nLD_PRELOAD='${runtimes().join(' ')}' ${run}\n`);
  chmodSync(node, 0o755);
  return node;
}

function requirePlantedLeak(node: string): void {
  const load = ['-e', `require(${JSON.stringify(addon)})`];
  const env = { ...process.env, ...environment };
  const { status, stderr } = spawnSync(node, load, { encoding: 'utf8', env });
  if (status === 0 || !/leak of 4321 byte[^]*PlantLeak/.test(stderr)) {
    throw new Error(`the planted leak was not found, so no other would be (exit code ${status})\n${stderr}`);
  }
  console.log('ok: the planted leak is found');
}

async function main(): Promise<number> {
  // The addon is loaded from build/Release first, which holds the developer's own build. So the suite runs in a copy.
  const folder = mkdtempSync(path.join(tmpdir(), 'vfio-dmabuf-asan-'));
  try {
    const copy = path.join(folder, 'checkout');
    cpSync(root, copy, { recursive: true, filter: (file) => !notCopied.includes(path.relative(root, file)) });
    symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
    mkdirSync(path.join(copy, 'build/Release'), { recursive: true });

    build(true);
    const node = makeNode(path.join(folder, 'bin'));
    requirePlantedLeak(node);
    build(false);
    copyFileSync(addon, path.join(copy, 'build/Release/vfio_dmabuf.node'));
    // It is loaded into programs that have no sanitizer.
    const preload = 'build/Release/vfio_dmabuf_run.so';
    if (existsSync(path.join(root, preload))) copyFileSync(path.join(root, preload), path.join(copy, preload));
    const { ok, passed } = await runSuite({
      folder: copy,
      bin: path.dirname(node),
      env: environment,
      processes: availableParallelism(),
    });
    console.log(
      ok
        ? `test:asan: ${passed} passing, no bad access, no undefined behaviour, no leak; the planted leak was found`
        : 'test:asan: FAILED',
    );
    return ok ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

exitWith(main());
