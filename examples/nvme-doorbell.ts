// A DMA engine rings an NVMe drive's doorbell: the command is already in the drive's queue, and a peer instead of the
// CPU submits it. A NIC can start a drive's work in this way.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { PeerSpace } from 'vfio-dmabuf';
import { devices, hex, run, step } from './devices';
import { Edu } from './edu';
import { NvmeDrive } from './nvme-drive';

const { disk: diskAddress, engine: engineAddress } = devices('disk', 'engine');
const count = 8; // blocks

run(async () => {
  await using space = await PeerSpace.open({ devices: [diskAddress, engineAddress] });
  const disk = await NvmeDrive.start(space.device(diskAddress), space.ioas);
  const engine = new Edu(space.device(engineAddress));
  const doorbell = disk.controller.doorbell(1, 'submission');
  const share = space.share(disk.device, disk.controller.doorbells(1));
  const at = share.iova + doorbell.offset - share.offset;
  step(
    `Drive ${diskAddress} shares the page with its doorbells`,
    `BAR ${String(share.region)} at ${hex(share.offset)}; that of queue 1 is at IOVA ${hex(at)}`,
  );

  const size = count * disk.blockSize;
  const memory = await space.memory(3 * 4096);
  const [sent, back] = [Buffer.from(memory.buffer, 0, size), Buffer.from(memory.buffer, 4096, size)];
  randomFillSync(sent);
  await disk.write(7n, count, memory.iova);

  const { value, done } = disk.prepare('read', 7n, count, memory.iova + 4096n);
  await sleep(200);
  assert(back.every((byte) => byte === 0));
  step('A command to read is in the queue; nobody has told the drive, and it does nothing');

  const iovaOfValue = memory.iova + 8192n;
  new DataView(memory.buffer).setUint32(8192, value, true);
  await engine.load(iovaOfValue, 4);
  await engine.store(at, 4);
  await done();
  assert(back.equals(sent));
  step(
    `${engineAddress} writes ${String(value)} to the doorbell by DMA`,
    `the drive has executed the command: ${String(size)} bytes, all right`,
  );
});
