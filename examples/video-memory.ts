// A display's video memory, filled by a drive and read by a DMA engine. The drive transfers the picture directly into
// the frame buffer, and the example writes the contents of the frame buffer to a PNG file.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PeerSpace, videoMemory } from 'vfio-dmabuf';
import { devices, hex, run, step } from './devices';
import { Edu } from './edu';
import { NvmeDrive } from './nvme-drive';

const { display: displayAddress, disk: diskAddress, engine: engineAddress } = devices('display', 'disk', 'engine');
const file = process.env['PICTURE'] ?? join(tmpdir(), 'video-memory.png');
const [width, height] = [320, 200];
const size = width * height * 4;

/** Draws a colour gradient with a circle in the middle. The bytes of a pixel are blue, green, red and unused. */
function draw(pixels: Uint8Array): void {
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2;
      const [red, green] = [(255 * x) / width, (255 * y) / height];
      pixels.set(inside ? [255 - green, 255 - red, 255, 0] : [128, green, red, 0], 4 * (y * width + x));
    }
  }
}

async function toPng(pixels: Uint8Array): Promise<Uint8Array> {
  const { encode } = await import('fast-png');
  const data = new Uint8Array((size / 4) * 3);
  for (let i = 0; i < size / 4; i += 1)
    data.set(
      [2, 1, 0].map((colour) => pixels[4 * i + colour] ?? 0),
      3 * i,
    );
  return encode({ width, height, data, channels: 3 });
}

run(async () => {
  await using space = await PeerSpace.open({ devices: [displayAddress, diskAddress, engineAddress] });
  const display = space.device(displayAddress);
  const vram = videoMemory(display);
  const length = BigInt(Math.ceil(size / 4096) * 4096);
  const window = space.share(display, { region: vram.index, offset: 0n, length });
  step(
    `Display ${displayAddress} shares a window of its video memory`,
    `BAR ${String(vram.index)} of ${String(vram.size >> 20n)} MiB: ${String(length >> 10n)} KiB at IOVA ${hex(window.iova)}`,
  );

  const disk = await NvmeDrive.start(space.device(diskAddress), space.ioas);
  const memory = await space.memory(Number(length) + 4096);
  const picture = new Uint8Array(memory.buffer, 0, size);
  draw(picture);
  const blocks = Math.ceil(size / disk.blockSize);
  await disk.write(0n, blocks, memory.iova);
  step(`A picture of ${String(width)} x ${String(height)} is on drive ${diskAddress}`);

  await disk.read(0n, blocks, window.iova);
  const shown = Buffer.alloc(size);
  vram.read(0n, shown);
  assert(shown.equals(picture));
  writeFileSync(file, await toPng(shown));
  step('The drive reads it into the video memory', `every pixel is there: ${file} is made from what the display has`);

  const engine = new Edu(space.device(engineAddress));
  const part = 4096; // size of the engine's buffer
  await engine.copy(window.iova + BigInt(size - part), memory.iova + length, part);
  assert(Buffer.from(memory.buffer, Number(length), part).equals(picture.subarray(size - part)));
  step(`${engineAddress} reads the last ${String(part)} bytes of it back, by DMA: the same`);
});
