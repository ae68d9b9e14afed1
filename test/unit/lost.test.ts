// With NODE_DEBUG=vfio-dmabuf, a warning for each object that was garbage-collected without close(), with the place
// that created it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { typescript } from '../typescript';

const child = join(__dirname, 'lost/child.ts');

function run(debug: string) {
  const args = ['--expose-gc', ...typescript, '--no-warnings', child];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    env: { ...process.env, NODE_DEBUG: debug },
  });
  assert.equal(status, 0, stderr);
  return stdout
    .trim()
    .split('\n')
    .map(
      (line) => JSON.parse(line) as { code?: string; name?: string; what?: string; made?: string; openFiles?: number },
    );
}

describe('objects that were never closed', function () {
  this.timeout(20_000);

  it('are cleaned up by the garbage collector, silently', () => assert.deepEqual(run(''), [{ openFiles: 0 }]));

  it('are named with the place where they were made, with NODE_DEBUG=vfio-dmabuf', () => {
    const lines = run('vfio-dmabuf');
    assert.deepEqual(lines.pop(), { openFiles: 0 });
    assert.deepEqual(lines.map(({ what }) => what).sort(), [
      'DMA memory',
      'IOAS',
      'VFIO device',
      'dma-buf',
      'iommufd',
      'mapped region',
    ]);
    for (const { code, name, made } of lines) {
      assert.deepEqual([code, name], ['VFIO_DMABUF_LOST', 'VfioDmabufWarning']);
      assert.match(made ?? '', /at loseAll/);
    }
  });
});
