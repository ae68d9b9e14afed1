// Drops one object of each kind without close(), closes another, and prints the warnings and the open files.
import { setImmediate } from 'node:timers/promises';
import { DmaMemory, Iommufd, VfioDevice } from '../../../lib';
import { FakeKernel } from '../../../lib/fake';

const kernel = new FakeKernel();
process.on('warning', ({ code, name, message }: Error & { code?: string }) =>
  console.log(JSON.stringify({ code, name, what: /The (.*) was not closed/.exec(message)?.[1], made: message })),
);
function loseAll(): void {
  const iommufd = Iommufd.open({ kernel });
  const ioas = iommufd.allocIoas();
  const ssd = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
  ssd.region(0).map();
  ioas.mapDmaBuf(ssd.exportDmaBuf({ region: 2, offset: 0n, length: 4096n }));
  DmaMemory.alloc(4096, { kernel });
}
function closeAll(): void {
  const iommufd = Iommufd.open({ kernel });
  iommufd.allocIoas();
  const display = VfioDevice.openSync(kernel.addressOf('display'), { iommufd });
  display.region(2).map();
  display.exportDmaBuf({ region: 0, offset: 0n, length: 4096n }).close();
  DmaMemory.alloc(4096, { kernel }).close();
  iommufd.close();
}
async function main(): Promise<void> {
  closeAll();
  loseAll();
  for (let i = 0; i < 20; i += 1) {
    globalThis.gc?.();
    await setImmediate();
  }
  console.log(JSON.stringify({ openFiles: kernel.openFiles }));
}

void main();
