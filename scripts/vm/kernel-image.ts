// Finds or builds the kernel image that the virtual machine boots.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The image that `VFIO_DMABUF_BZIMAGE` names, or the one that build-kernel.sh has built. Builds it if it is missing.
 */
export function kernelImage(): string {
  const named = process.env['VFIO_DMABUF_BZIMAGE'];
  if (named !== undefined && named !== '') {
    if (!existsSync(named)) throw new Error(`VFIO_DMABUF_BZIMAGE names ${named}, which is not there`);
    return named;
  }
  const tree = process.env['VFIO_DMABUF_KERNEL_SOURCE'];
  const build = spawnSync(join(__dirname, 'build-kernel.sh'), tree === undefined ? [] : ['--source', tree], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  const image = build.stdout.trim().split('\n').at(-1);
  if (build.status !== 0 || image === undefined || image === '') {
    throw new Error(
      'no kernel image for the virtual machine: building one failed (see above). ' +
        'VFIO_DMABUF_BZIMAGE can name one, VFIO_DMABUF_KERNEL_SOURCE a source tree to build it from',
    );
  }
  return image;
}
