// Loading the native addon, in installations and checkouts with an addon, without one, and with one that does not load.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript';
import { temporaryFolder } from '../cleanup';

const checkout = resolve(__dirname, '../..');
const built = 'build/Release/vfio_dmabuf.node';
const prebuilt = `prebuilds/linux-${process.arch}/vfio_dmabuf.node`;
const addon = readFileSync(join(checkout, built));

interface Outcome {
  loaded?: string;
  code?: string;
  message?: string;
  cause?: string;
}

describe('loading the addon', function () {
  this.timeout(60_000);
  let project: string;
  let folder: string;

  beforeEach(() => {
    project = temporaryFolder();
    folder = join(project, 'node_modules/vfio-dmabuf');
    mkdirSync(join(folder, 'dist/addon'), { recursive: true });
    write('package.json', '{ "name": "vfio-dmabuf" }');
    for (const name of ['bindings', 'file-uri-to-path']) {
      symlinkSync(join(checkout, 'node_modules', name), join(project, 'node_modules', name));
    }
    const compilerOptions = { module: ModuleKind.CommonJS, target: ScriptTarget.ES2022, esModuleInterop: true };
    for (const name of ['native', 'load', 'binary', 'advice', 'coded']) {
      const source = readFileSync(join(checkout, `lib/addon/${name}.ts`), 'utf8');
      write(`dist/addon/${name}.js`, transpileModule(source, { compilerOptions }).outputText);
    }
  });

  /** Writes a file of the installed package. */
  function write(name: string, content: string | Buffer): void {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }

  function load(flags: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Outcome {
    const script = `
      let outcome;
      try {
        require(${JSON.stringify(join(folder, 'dist/addon/native.js'))}).native.systemKernel();
        outcome = { loaded: Object.keys(require.cache).find((name) => name.endsWith('.node')) };
      } catch ({ code, message, cause }) {
        outcome = { code, message, cause: String(cause) };
      }
      console.log(JSON.stringify(outcome));`;
    const options = {
      cwd: project,
      encoding: 'utf8',
      env: { ...process.env, npm_config_user_agent: '', ...env },
    } as const;
    const { stdout, stderr, signal } = spawnSync(process.execPath, ['--no-warnings', ...flags, '-e', script], options);
    assert.notEqual(stdout, '', `${signal} ${stderr}`);
    return JSON.parse(stdout) as Outcome;
  }

  function refuses(code: string, ...patterns: RegExp[]): void {
    const outcome = load();
    assert.equal(outcome.code, code, outcome.message);
    for (const pattern of patterns) assert.match(outcome.message ?? '', pattern);
  }

  /** The addon with another text of the same length in place of `from`. */
  function patched(from: string, to: string): Buffer {
    const bytes = Buffer.from(addon);
    const at = bytes.indexOf(`\0${from}\0`, 0, 'latin1') + 1;
    assert(at > 0 && from.length === to.length, from);
    bytes.write(to, at, 'latin1');
    return bytes;
  }

  it('takes the prebuilt one, or else the built one, also with --frozen-intrinsics', () => {
    write(built, addon);
    assert.equal(load().loaded, join(folder, built));
    write(prebuilt, addon);
    assert.equal(load().loaded, join(folder, prebuilt));
    assert.equal(load(['--frozen-intrinsics']).loaded, join(folder, prebuilt));
  });

  it('takes the built one where the prebuilt one does not load', () => {
    write(built, addon);
    for (const bytes of [addon.subarray(0, 5000), patched('libc.so.6', 'libc.musl')]) {
      write(prebuilt, bytes);
      assert.equal(load().loaded, join(folder, built));
    }
  });

  it('takes only the built one in a checkout', () => {
    write('tsconfig.build.json', '{}');
    write(prebuilt, addon);
    refuses('ERR_ADDON_NOT_BUILT', /npm run rebuild/);
    write(built, addon);
    assert.equal(load().loaded, join(folder, built));
  });

  it('without one: ERR_ADDON_NOT_BUILT', () => {
    for (const flags of [[], ['--frozen-intrinsics']]) {
      const { code, message } = load(flags);
      assert.equal(code, 'ERR_ADDON_NOT_BUILT');
      assert.match(message ?? '', /no native addon for linux-\w+; build it here: node ".*addon\.mjs"/);
    }
    symlinkSync(join(project, 'gone'), join(folder, 'build'));
    refuses('ERR_ADDON_NOT_BUILT');
  });

  it('with prebuilt ones, but not the one for this machine: restores it', () => {
    write('prebuilds/linux-other/vfio_dmabuf.node', addon);
    const pattern = ['x64', 'arm64'].includes(process.arch)
      ? /is missing; restore it: rm -r .* && npm install/
      : /build it here/;
    refuses('ERR_ADDON_NOT_BUILT', pattern);
  });

  it('truncated anywhere: ERR_ADDON_TRUNCATED, and no SIGBUS', () => {
    for (const length of [0, 1, 4, 40, 64, 1000, 5000, addon.length >> 1, addon.length - 1]) {
      write(prebuilt, addon.subarray(0, length));
      refuses('ERR_ADDON_TRUNCATED', /is truncated; restore it: rm -r .* && npm install$/);
    }
    rmSync(join(folder, 'prebuilds'), { recursive: true });
    write(built, addon.subarray(0, 5000));
    refuses('ERR_ADDON_TRUNCATED', /build\/Release.* is truncated; build it here/);
  });

  it('replaced by some other file: ERR_ADDON_TRUNCATED', () => {
    write(prebuilt, 'version https://git-lfs.github.com/spec/v1\n');
    refuses('ERR_ADDON_TRUNCATED', /is no shared library/);
  });

  it('for another architecture: ERR_ADDON_ARCHITECTURE', () => {
    const bytes = Buffer.from(addon);
    for (const [machine, arch] of Object.entries({ 62: 'x64', 183: 'arm64', 22: 's390x', 243: 'riscv64' })) {
      if (arch === process.arch) continue;
      bytes.writeUInt16LE(Number(machine), 18);
      write(built, bytes);
      refuses('ERR_ADDON_ARCHITECTURE', RegExp(`built for ${arch}, .*for ${process.arch}; build it here`));
    }
  });

  it('for another C library: ERR_ADDON_LIBC', () => {
    write(built, patched('libc.so.6', 'libc.musl'));
    refuses('ERR_ADDON_LIBC', /built for musl/, /build it here/);
  });

  it('of a machine with newer or other libraries: ERR_ADDON_OTHER_MACHINE', () => {
    const version = /\0(GLIBC_2\.[1-3]\d)\0/.exec(addon.toString('latin1'))![1]!;
    for (const bytes of [patched(version, version.replace('_2', '_9')), patched('libgcc_s.so.1', 'libgcc_s.so.9')]) {
      write(built, bytes);
      refuses('ERR_ADDON_OTHER_MACHINE', /another machine/, /build it here/);
    }
  });

  it('where Node.js or the system allows none: ERR_ADDON_BLOCKED', () => {
    write(prebuilt, addon);
    const { code, message } = load(['--no-addons']);
    assert.equal(code, 'ERR_ADDON_BLOCKED');
    assert.match(message ?? '', /--allow-addons/);
  });

  it('that is no addon: ERR_ADDON_NOT_LOADED, and why', () => {
    write(built, patched('napi_register_module_v1', 'napi_register_module_v7'));
    refuses('ERR_ADDON_NOT_LOADED', /did not self-register/i);
  });

  it('in a bundle: ERR_ADDON_BUNDLED', () => {
    write(prebuilt, addon);
    write('package.json', '{ "name": "some-program" }');
    refuses('ERR_ADDON_BUNDLED', /external/);
  });

  it('names the command of the package manager', () => {
    write(built, '');
    const bin = join(project, 'node_modules/.bin');
    mkdirSync(bin);
    copyFileSync(join(checkout, 'package.json'), join(bin, 'vfio-dmabuf-build'));
    const cases: [file: string, agent: string, command: string][] = [
      ['package-lock.json', '', 'npx --no'],
      ['pnpm-lock.yaml', 'npm/11.0.0 node/v20.4.0 linux x64', 'pnpm exec'],
      ['yarn.lock', 'npm/11.0.0 node/v20.4.0 linux x64', 'yarn run'],
      ['bun.lock', '', 'bunx --no-install'],
      ['README.md', 'pnpm/12.0.0 npm/? node/v24.0.0 linux x64', 'pnpm exec'],
      ['README.md', 'yarn/4.18.1 npm/? node/v24.0.0 linux x64', 'yarn run'],
      ['README.md', 'bun/1.4.5 npm/? node/v24.0.0 linux x64', 'bunx --no-install'],
      ['README.md', 'other/1.0.0', 'npx --no'],
    ];
    for (const [file, agent, command] of cases) {
      writeFileSync(join(project, file), '');
      const { message } = load([], { npm_config_user_agent: agent });
      assert.match(message ?? '', RegExp(`build it here: ${command} vfio-dmabuf-build$`));
      rmSync(join(project, file));
    }
  });
});
