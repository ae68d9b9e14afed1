// Drops one object of each class without close(), and prints the classes that the warnings name.
import { setImmediate } from 'node:timers/promises';
import { FakeKernel } from '../../../lib/fake';
import { Fixture } from '../../long/fuzz/fixture';

const classes: Readonly<Record<string, string>> = {
  'dma-buf': 'DmaBuf',
  'dma-heap': 'DmaHeap',
  'DMA memory': 'DmaMemory',
  eventfd: 'Eventfd',
  'fault queue': 'FaultQueue',
  'fd channel': 'FdChannel',
  'hardware queue': 'HwQueue',
  HWPT: 'Hwpt',
  IOAS: 'Ioas',
  ioeventfd: 'Ioeventfd',
  iommufd: 'Iommufd',
  'mapped dma-buf': 'MappedDmaBuf',
  'mapped region': 'MappedRegion',
  'migration data': 'MigrationData',
  'sync file': 'SyncFile',
  'virtual device': 'Vdevice',
  'event queue': 'VeventQueue',
  'VFIO container': 'VfioContainer',
  'VFIO device': 'VfioDevice',
  'VFIO group': 'VfioGroup',
  vIOMMU: 'Viommu',
  'fence timeline': 'FenceTimeline',
};
const found = new Set<string>();
process.on('warning', ({ message }) => {
  const what = /The (.*) was not closed/.exec(message)?.[1];
  if (what !== undefined) found.add(classes[what] ?? what);
});

function loseAll(): void {
  const { objects } = new Fixture(new FakeKernel(), []);
  objects.shareServer.close(); // these wait for clients, so they are not garbage
  objects.fdServer.close();
}

async function main(): Promise<void> {
  loseAll();
  for (let i = 0; i < 50; i += 1) {
    globalThis.gc?.();
    await setImmediate();
  }
  console.log(JSON.stringify([...found].sort()));
}

void main();
