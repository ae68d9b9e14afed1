// Under Bun and Deno, loading the package throws a coded error; without it, the process ended later without a reason.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { bun, deno, itNeeds, type Need } from '../needs';
import { typescript } from '../typescript';

const checkout = join(__dirname, '../..');
const entries = ['lib/index.ts', 'lib/fake/index.ts', 'lib/cli/main.ts'];
const built: Need = () =>
  existsSync(join(checkout, 'dist/index.js')) ? undefined : 'the package is not built (npm run build:ts)';

function run(command: string, ...args: string[]): { status: number | null; stderr: string } {
  const env = { ...process.env, VFIO_DMABUF_KERNEL: 'fake' };
  return spawnSync(command, args, { cwd: checkout, encoding: 'utf8', env });
}

describe('another runtime than Node.js', function () {
  this.timeout(60_000);

  for (const [key, name] of Object.entries({ bun: 'Bun', deno: 'Deno' })) {
    for (const entry of entries) {
      it(`${name} is told by ${entry} as soon as it is loaded`, () => {
        const program = `
          const versions = { ...process.versions, ${key}: '1.2.3' };
          Object.defineProperty(process, 'versions', { value: versions });
          try { require(${JSON.stringify(join(checkout, entry))}); } catch ({ code, message }) {
            console.error(JSON.stringify({ code, message }));
          }`;
        const { stderr } = run(process.execPath, ...typescript, '-e', program);
        const { code, message } = JSON.parse(stderr) as { code: string; message: string };
        assert.equal(code, 'ERR_UNSUPPORTED_RUNTIME');
        assert.match(message, new RegExp(`runs on Node\\.js only, and this is ${name} 1\\.2\\.3`));
      });
    }
  }

  const program = "try { require('./dist'); } catch ({ code }) { console.error(code); }";
  itNeeds([bun, built], 'is told by the true Bun', () => {
    assert.equal(run('bun', '-e', program).stderr, 'ERR_UNSUPPORTED_RUNTIME\n');
  });
  itNeeds([deno, built], 'is told by the true Deno', () => {
    const made = `import { createRequire } from 'node:module'; const require = createRequire('${checkout}/x.js'); ${program}`;
    assert.match(run('deno', 'eval', made).stderr, /^ERR_UNSUPPORTED_RUNTIME$/m);
  });
});
