// Shares a drive's Controller Memory Buffer with another process, as `vfio-dmabuf share` does on the command line. A
// fake kernel exists in one process only, so on it the importer runs in the same process.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultKernel, NvmeController, PeerSpace, ShareServer } from 'vfio-dmabuf';
import { devices, run, step } from './devices';
import { importBuffers } from './importer';

const { ssd: ssdAddress, engine: engineAddress } = devices('ssd', 'engine');
const length = 0x100000;

async function runImporter(path: string, reached: () => void): Promise<void> {
  if (defaultKernel().name !== 'system') return importBuffers(path, engineAddress, reached);
  const child = fork(join(__dirname, 'importer.ts'), [path, engineAddress]).once('message', reached);
  const [status] = (await once(child, 'exit')) as [number];
  assert.equal(status, 0);
}

run(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'share-'));
  try {
    await using space = await PeerSpace.open({ devices: [ssdAddress] });
    const device = space.device(ssdAddress);
    using controller = new NvmeController(device);
    const { region, offset } = controller.enableCmb();
    using dmaBuf = device.exportDmaBuf({ region, offset, length });
    const ranges = [{ offset, length }];
    using server = new ShareServer(join(folder, 'cmb'), [{ name: 'cmb', dmaBuf, device: ssdAddress, region, ranges }]);
    server.on('connected', ({ pid }) => step(`Process ${String(pid)} is given the buffers`));
    server.on('gone', ({ pid }, why) => step(`Process ${String(pid)} is gone: ${why}`));
    step(`The CMB of ${ssdAddress} is shared at ${server.path}`);

    let importing: Promise<void> = Promise.resolve();
    await new Promise<void>((reached, fail) => {
      importing = runImporter(server.path, reached);
      importing.catch(fail);
    });
    await device.reset();
    step(`${ssdAddress} is reset: whoever has the buffer is told`);
    await importing;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
