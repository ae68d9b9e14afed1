// Errors have hints, whichever entry point of the package a program imports first.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { loadTypeScript, typescript } from '../typescript';

const library = join(__dirname, '../../lib');
const quoted = (file: string) => JSON.stringify(join(library, file));

function run(...args: string[]): string {
  const { stdout, stderr } = spawnSync(process.execPath, [...typescript, ...args], {
    encoding: 'utf8',
    env: { ...process.env, VFIO_DMABUF_KERNEL: 'fake' },
  });
  return stdout + stderr;
}

const programs: Readonly<Record<string, string>> = {
  'vfio-dmabuf': `
    const { Iommufd } = require(${quoted('index.ts')});
    try { Iommufd.fromFd(4000); } catch (error) { console.log(error.hint); }`,
  'vfio-dmabuf/fake': `
    const { FakeKernel, FenceTimeline } = require(${quoted('fake/index.ts')});
    const kernel = new FakeKernel();
    kernel.failCall(1, 'EMFILE');
    try { FenceTimeline.open({ kernel }); } catch (error) { console.log(error.hint); }
    kernel.close();
    FenceTimeline.open().close(); // the default kernel, by its name`,
  'vfio-dmabuf, in a worker': `
    const { Worker } = require('node:worker_threads');
    const program = \`
      ${loadTypeScript}
      const { Iommufd } = require(${JSON.stringify(join(library, 'index.ts'))});
      try { Iommufd.fromFd(4000); } catch (error) { console.log(error.hint); }\`;
    new Worker(program, { eval: true });`,
};
const hints = /^(not an open file descriptor|the process has as many open files as it may \(`ulimit -n`\))\n$/;

describe('entry points', () => {
  for (const [name, program] of Object.entries(programs)) {
    it(`${name}: errors have hints, and VFIO_DMABUF_KERNEL is known`, () => assert.match(run('-e', program), hints));
  }

  it('the command line: errors have hints, and VFIO_DMABUF_KERNEL is known', () => {
    const range = ['--region', '2', '--range', '1:4096'];
    const output = run(join(library, 'cli/main.ts'), 'export', '0000:01:00.0', ...range);
    assert.match(output, /EINVAL.*is not page aligned/);
  });
});
