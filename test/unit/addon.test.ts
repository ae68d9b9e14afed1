// Loading the native addon, in installations with an addon, without one, and with one that cannot be loaded.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript';
import { temporaryFolder } from '../cleanup';

const checkout = resolve(__dirname, '../..');
const binary = 'build/Release/vfio_dmabuf.node';

interface Outcome {
  loaded?: boolean;
  code?: string;
  message?: string;
  cause?: string;
}

describe('loading the addon', function () {
  this.timeout(20_000);
  let folder: string;

  beforeEach(() => {
    folder = temporaryFolder();
    mkdirSync(join(folder, 'dist/addon'), { recursive: true });
    mkdirSync(join(folder, 'build/Release'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{}');
    symlinkSync(join(checkout, 'node_modules'), join(folder, 'node_modules'));
    const compilerOptions = { module: ModuleKind.CommonJS, target: ScriptTarget.ES2022, esModuleInterop: true };
    for (const name of ['native', 'coded']) {
      const source = readFileSync(join(checkout, `lib/addon/${name}.ts`), 'utf8');
      writeFileSync(join(folder, `dist/addon/${name}.js`), transpileModule(source, { compilerOptions }).outputText);
    }
  });

  function load(...flags: string[]): Outcome {
    const script = `
      let outcome = { loaded: true };
      try {
        require('./dist/addon/native.js').native.systemKernel();
      } catch ({ code, message, cause }) {
        outcome = { code, message, cause: String(cause) };
      }
      console.log(JSON.stringify(outcome));`;
    const options = { cwd: folder, encoding: 'utf8' } as const;
    const { stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', ...flags, '-e', script], options);
    assert.notEqual(stdout, '', stderr);
    return JSON.parse(stdout) as Outcome;
  }

  it('works, also with --frozen-intrinsics', () => {
    symlinkSync(join(checkout, binary), join(folder, binary));
    assert.deepEqual(load(), { loaded: true });
    assert.deepEqual(load('--frozen-intrinsics'), { loaded: true });
  });

  it('without one: ERR_ADDON_NOT_BUILT', () => {
    for (const flags of [[], ['--frozen-intrinsics']]) {
      const { code, cause } = load(...flags);
      assert.equal(code, 'ERR_ADDON_NOT_BUILT');
      assert.match(cause ?? '', /Could not locate the bindings file/);
    }
  });

  it('with one that does not load: ERR_ADDON_NOT_LOADED, and why', () => {
    for (const content of ['', 'no library']) {
      writeFileSync(join(folder, binary), content);
      const { code, message, cause } = load();
      assert.equal(code, 'ERR_ADDON_NOT_LOADED');
      assert.match(cause ?? '', /vfio_dmabuf\.node/);
      assert(message?.includes((cause ?? '').replace('Error: ', '')), message);
    }
  });

  it('with a link to nothing: ERR_ADDON_NOT_BUILT', () => {
    symlinkSync(join(folder, 'gone'), join(folder, binary));
    assert.equal(load().code, 'ERR_ADDON_NOT_BUILT');
  });
});
