// Three devices work together: a drive transfers frames into a display's video memory, and a DMA engine copies them
// from there into the drive's Controller Memory Buffer. Halfway the drive is reset, and the transfers resume shortly
// after.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { PeerSpace, videoMemory } from 'vfio-dmabuf';
import { devices, hex, run, step } from './devices';
import { Edu } from './edu';
import { NvmeDrive } from './nvme-drive';

const { disk: diskAddress, display: displayAddress, engine: engineAddress } = devices('disk', 'display', 'engine');
const [frames, resetIn] = [6, 3];
const size = 4096;

run(async () => {
  await using space = await PeerSpace.open({ devices: [diskAddress, displayAddress, engineAddress] });
  const display = space.device(displayAddress);
  let disk = await NvmeDrive.start(space.device(diskAddress), space.ioas);
  const engine = new Edu(space.device(engineAddress));
  const vram = space.share(display, { region: videoMemory(display).index, length: 16 * size });
  const cmb = space.share(disk.device, { ...disk.controller.enableCmb(), length: BigInt(size) });
  step(
    'A drive, a display and a DMA engine share what they have',
    `video memory of ${displayAddress} at IOVA ${hex(vram.iova)}`,
    `CMB of ${diskAddress} at IOVA ${hex(cmb.iova)}`,
  );
  space.on('revoked', ({ device }) => console.log(`   … revoked: what ${device.address ?? ''} shares`));
  space.on('restored', ({ device, iova }) =>
    console.log(`   … restored: what ${device.address ?? ''} shares, at ${hex(iova)}`),
  );

  const count = size / disk.blockSize;
  const memory = await space.memory(frames * size);
  const sent = Buffer.from(memory.buffer);
  randomFillSync(sent);
  await disk.write(0n, frames * count, memory.iova);
  step(`${String(frames)} frames of ${String(size)} bytes are on the drive`);

  const arrived = (): Buffer => {
    const bytes = Buffer.alloc(size);
    disk.device.region(cmb.region).read(cmb.offset, bytes);
    return bytes;
  };
  const send = async (frame: number) => {
    await disk.read(BigInt(frame * count), count, vram.iova);
    await engine.copy(vram.iova, cmb.iova, size);
  };
  for (let frame = 0; frame < frames; frame += 1) {
    const sending = send(frame);
    if (frame === resetIn) {
      const outcome = sending.then(
        () => 'may have arrived, or faulted on its way',
        (error: unknown) => `failed: ${error instanceof Error ? error.message : String(error)}`,
      );
      await space.reset(disk.device);
      disk.close();
      step('The drive is reset in mid-traffic', `frame ${String(frame)} ${await outcome}`);
      disk = await NvmeDrive.start(disk.device, space.ioas);
      disk.controller.enableCmb();
      step('It is in service again', `what it shares is ${cmb.state}, at IOVA ${hex(cmb.iova)} as before`);
      await send(frame);
    } else {
      await sending;
    }
    assert(arrived().equals(sent.subarray(frame * size, (frame + 1) * size)));
    step(`Frame ${String(frame)} went from the drive through the video memory into the CMB: every byte`);
  }
  disk.close();
});
