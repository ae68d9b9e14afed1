// npm run test:arm64 [-- FILE...]: runs the suite of `npm test`, or some of its files, with the prebuilt arm64 addon and
// an arm64 Node. On another machine, QEMU emulates the processor.
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';

import { root } from './cmake';
import { emulateNode } from './emulated-node';
import { exitWith } from './exit';
import { prebuilt } from './prebuild';
import { runSuite } from './suite';

const notCopied = ['node_modules', 'build', 'dist', 'docs', 'prebuilds', '.git', '.vfio-dmabuf'];

async function main(files: readonly string[]): Promise<number> {
  if (!existsSync(prebuilt('arm64'))) throw new Error('there is no arm64 addon: npm run prebuild -- arm64');
  // A checkout loads its own build.
  const folder = mkdtempSync(path.join(tmpdir(), 'vfio-dmabuf-arm64-'));
  try {
    const copy = path.join(folder, 'checkout');
    cpSync(root, copy, { recursive: true, filter: (file) => !notCopied.includes(path.relative(root, file)) });
    symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
    mkdirSync(path.join(copy, 'build/Release'), { recursive: true });
    copyFileSync(prebuilt('arm64'), path.join(copy, 'build/Release/vfio_dmabuf.node'));
    const bin = path.join(folder, 'bin');
    const { version, env } = emulateNode(bin, '20');
    const { ok, passed } = await runSuite({ folder: copy, bin, env, processes: availableParallelism(), files });
    console.log(`test:arm64: Node ${version}, ${passed} passing${ok ? '' : ', FAILED'}`);
    return ok ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

exitWith(main(process.argv.slice(2)));
