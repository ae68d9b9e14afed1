// One drive reads directly into another's Controller Memory Buffer and writes from it. The blocks do not pass through
// host memory.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { PeerSpace } from 'vfio-dmabuf';
import { devices, hex, run, step } from './devices';
import { NvmeDrive } from './nvme-drive';

const { disk: diskAddress, ssd: ssdAddress } = devices('disk', 'ssd');
const count = 512; // blocks

run(async () => {
  await using space = await PeerSpace.open({ devices: [diskAddress, ssdAddress] });
  const [disk, ssd] = await Promise.all(space.devices.map((device) => NvmeDrive.start(device, space.ioas)));
  assert(disk && ssd);
  for (const { device, serial, blocks, blockSize, controller } of [disk, ssd]) {
    const found = controller.cmb ? 'is there' : 'has to be enabled';
    step(
      `Drive ${device.address ?? ''} is in service: ${serial}, NVMe ${controller.version}`,
      `${String(blocks)} blocks of ${String(blockSize)} bytes; its CMB ${found}`,
    );
  }

  const size = count * disk.blockSize;
  const memory = await space.memory(2 * size);
  const [sent, back] = [Buffer.from(memory.buffer, 0, size), Buffer.from(memory.buffer, size, size)];
  randomFillSync(sent);
  await disk.write(0n, count, memory.iova);

  // Each drive reads into the other's CMB.
  for (const [from, to] of [
    [disk, ssd],
    [ssd, disk],
  ] as const) {
    const cmb = to.controller.enableCmb();
    const share = space.share(to.device, { ...cmb, length: BigInt(size) });
    step(
      `${to.device.address ?? ''} shares ${String(size >> 10)} KiB of its CMB of ${String(cmb.length >> 20n)} MiB`,
      `BAR ${String(cmb.region)} at ${hex(cmb.offset)}; IOVA ${hex(share.iova)} for all`,
    );
    if (from === ssd) await ssd.write(0n, count, memory.iova);
    await from.read(0n, count, share.iova);
    const there = Buffer.alloc(size);
    to.device.region(cmb.region).read(cmb.offset, there);
    assert(there.equals(sent));
    step(`${from.device.address ?? ''} reads ${String(count)} blocks into it: every byte is there`);

    await from.write(1000n, count, share.iova);
    back.fill(0);
    await from.read(1000n, count, memory.iova + BigInt(size));
    assert(back.equals(sent));
    step('It writes them to other blocks from there, and reads these into host memory: the same');
    share.close();
  }
});
