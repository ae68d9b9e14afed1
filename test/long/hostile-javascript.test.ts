// Hostile JavaScript: no program can crash the library, make it report a mapping that does not exist, or make a call
// that the kernel refused look successful. Each kind of attack has its own process. If that crashes, the test fails and
// prints the property name. VFIO_DMABUF_HOSTILE=long also attacks names that the program does not access.
import assert from 'node:assert/strict';
import { execFile, type ExecFileException } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterwards, temporaryFolder } from '../cleanup';
import { typescript } from '../typescript';
import { kinds } from './hostile-javascript/kinds';
import { names } from './hostile-javascript/names';

const patience = process.env['VFIO_DMABUF_HOSTILE'] === 'long' ? 3_600_000 : 120_000;

describe('hostile JavaScript', function () {
  this.timeout(patience + 1000);

  for (const kind of Object.keys(kinds)) {
    it(kind, async () => {
      const args = [...typescript, '--expose-gc', join(__dirname, 'hostile-javascript/child.ts'), kind];
      const env = { ...process.env, TMPDIR: temporaryFolder() };
      const options = { timeout: patience, killSignal: 'SIGKILL', maxBuffer: 1 << 26, env } as const;
      const ended = promisify(execFile)(process.execPath, args, options);
      afterwards(() => ended.child.kill('SIGKILL'));
      try {
        await ended;
      } catch (error) {
        const { signal, code, stdout, stderr } = error as ExecFileException & { stdout: string; stderr: string };
        assert.fail(`the process ended with ${signal ?? `exit code ${String(code)}`}\n${stdout}${stderr.slice(-4000)}`);
      }
    });
  }

  it('attacks the names of the addon and of the library', () => {
    // One name from each kind of source.
    for (const name of ['mapFd', 'maxPasidLog2', 'errno', 'iova', 'autoRemap', 'signal', 'fds', 'then', '0']) {
      assert(names.includes(name), name);
    }
    assert(names.length > 500, `${names.length} names`);
  });

  it('the addon assigns no property, and looks none up but what a fake kernel is described by', () => {
    const folder = join(__dirname, '../../native/binding');
    const forbidden = [
      /\.Set\(/,
      /napi_set_(named_property|property|element)/,
      /napi_(get|has)_(named_property|element)/,
      /napi_throw_(type_|range_)?error\(\w+, "/, // assigns `code`
      /napi_create_(type_|range_)?error\(\w+, (?!nullptr)/,
      /Napi::(Object|Array|Function)::New/,
      /ThrowAsJavaScriptException/,
      /HotFunction\([^)]*&/, // data with another owner
    ];
    for (const file of readdirSync(folder)) {
      const text = readFileSync(join(folder, file), 'utf8').replace(/\/\/.*$/gm, '');
      for (const pattern of forbidden) {
        if (file === 'object.h' && pattern.source.startsWith('Napi::(')) continue; // this file creates them
        assert.doesNotMatch(text, pattern, `${file}: ${pattern.source}`);
      }
      if (!/^fake_kernel\.cc$|^convert\.h$/.test(file)) assert.doesNotMatch(text, /\.Get\(/, file);
    }
  });
});
