// Compiles lib/ to dist/: bundles by esbuild, declarations by tsc. A failure leaves dist/ as it was.
import { spawnSync } from 'node:child_process';
import console from 'node:console';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath, URL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = path.join(root, 'dist');

function findTypeScript() {
  try {
    return createRequire(root).resolve('typescript/bin/tsc');
  } catch {
    return undefined;
  }
}

/** Returns an exit status. */
export async function buildDist() {
  const tsc = findTypeScript();
  if (tsc === undefined) {
    // A checkout that another project links, without its development dependencies.
    if (existsSync(path.join(dist, 'index.js'))) return 0;
    console.error(`vfio-dmabuf: TypeScript is not installed, so dist/ was not built: npm install, in ${root}`);
    return 1;
  }
  const [fresh, old] = ['new', 'old'].map((word) => path.join(root, `dist.${word}.${process.pid}`));
  try {
    await createRequire(import.meta.url)('../bundle.cjs').bundle(fresh);
    const args = [tsc, '-p', 'tsconfig.build.json', '--outDir', fresh];
    const { status, error } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
    if (error) throw error;
    if (status !== 0) return status ?? 1;
    if (existsSync(dist)) renameSync(dist, old);
    renameSync(fresh, dist);
    return 0;
  } finally {
    for (const folder of [fresh, old]) rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await buildDist();
