// npm run test:arm64 [-- FILE...]: runs tests of `npm test` on the fake kernel with the prebuilt arm64 addon and an arm64
// Node, emulated by QEMU. `-- all` runs all files.
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';

import { root } from './cmake';
import { emulateNode } from './emulated-node';
import { exitWith } from './exit';
import { prebuilt } from './prebuild';
import { runSuite } from './suite';

/**
 * The default: what takes minutes and not an hour. Other files start many processes, each of which takes seconds, or need
 * system calls that QEMU's user mode lacks (process_vm_readv(), the errno of unknown ioctls).
 */
const conformance = [
  ...['device-identity', 'dma', 'export', 'hot-reset', 'hwpt', 'info', 'interrupts', 'iommufd', 'low-power', 'map'],
  ...['migration', 'nvme', 'peer-space', 'region', 'revocation', 'topology', 'viommu'],
];
const unit = ['capabilities', 'errno', 'machine', 'ranges'];
const usual = [
  ...conformance.map((name) => `test/conformance/${name}.test.ts`),
  ...unit.map((name) => `test/unit/${name}.test.ts`),
];

const notCopied = ['node_modules', 'build', 'prebuilds', '.git', '.vfio-dmabuf'];

async function main(chosen: readonly string[]): Promise<number> {
  const [built = ''] = prebuilt('arm64');
  if (!existsSync(built)) throw new Error('there is no arm64 addon: npm run prebuild -- arm64');
  // A checkout loads its own build.
  const folder = mkdtempSync(path.join(tmpdir(), 'vfio-dmabuf-arm64-'));
  try {
    const copy = path.join(folder, 'checkout');
    cpSync(root, copy, { recursive: true, filter: (file) => !notCopied.includes(path.relative(root, file)) });
    symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
    mkdirSync(path.join(copy, 'build/Release'), { recursive: true });
    copyFileSync(built, path.join(copy, 'build/Release/vfio_dmabuf.node'));
    const bin = path.join(folder, 'bin');
    const { version, env } = emulateNode(bin, '20');
    const files = chosen.length > 0 ? chosen.filter((file) => file !== 'all') : usual;
    const { ok, passed } = await runSuite({ folder: copy, bin, env, processes: availableParallelism(), files });
    console.log(`test:arm64: Node ${version}, ${passed} passing${ok ? '' : ', FAILED'}`);
    return ok ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

exitWith(main(process.argv.slice(2)));
