// Exports the memory of one device as a dma-buf, and accesses it by another device's DMA.
//
// The exporter is a device with memory behind a BAR (here an NVMe drive with a Controller Memory Buffer), the peer a
// DMA engine. For hardware other than QEMU's edu device, write a driver like edu.ts for the engine.
import { parseArgs } from 'node:util';
import { defaultKernel, DmaMemory, Iommufd, VfioDevice } from 'vfio-dmabuf';
import { addressOf, reference } from 'vfio-dmabuf/fake';
import { Edu } from './edu';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: addressOf(reference, 'ssd') },
    region: { type: 'string', default: '2' },
    peer: { type: 'string', default: addressOf(reference, 'engine') },
  },
});
const region = Number(values.region);

const hex = (value: bigint) => `0x${value.toString(16)}`;
let steps = 0;
const step = (title: string, ...details: string[]) => {
  console.log(`${String((steps += 1))}. ${title}`);
  for (const detail of details) console.log(`   ${detail}`);
};

async function main(): Promise<void> {
  using iommufd = Iommufd.open();
  using ioas = iommufd.allocIoas();
  using exporter = await VfioDevice.open(values.device, { iommufd });
  using peer = await VfioDevice.open(values.peer, { iommufd });
  await peer.attach(ioas);
  const bar = exporter.region(region);
  const identity = (device: VfioDevice) => device.config.read32(0).toString(16).padStart(8, '0');
  step(
    `Two devices on ${defaultKernel().name === 'system' ? 'this kernel' : 'the fake kernel'}, bound to one iommufd`,
    `exporter ${values.device} [${identity(exporter)}], ${bar.name ?? ''} of ${String(bar.size >> 20n)} MiB`,
    `peer     ${values.peer} [${identity(peer)}], attached to IOAS ${String(ioas.id)}`,
  );

  using buffer = exporter.exportDmaBuf({ region, offset: 0n, length: 0x100000n });
  step(
    'The exporter gives 1 MiB of its BAR away as a dma-buf',
    `fd ${String(buffer.fd)}, ${String(buffer.size)} bytes`,
  );

  const mapping = ioas.mapDmaBuf(buffer, { iova: 0x1000_0000n });
  step('IOMMUFD maps it for the peer', `IOVA ${hex(mapping.iova)}, ${hex(mapping.length)} bytes, ${mapping.state}`);

  using memory = DmaMemory.alloc(4096);
  const host = await ioas.mapMemory(memory);
  const message = 'written by one device to another';
  Buffer.from(memory.buffer).write(message, 'latin1');
  const clear = () => bar.write(0, new Uint8Array(message.length).fill(0x2e));
  const look = () => {
    const bytes = Buffer.alloc(message.length);
    bar.read(0, bytes);
    return bytes.toString('latin1');
  };
  clear();
  const before = look();
  const engine = new Edu(peer);
  const send = () => engine.copy(host.iova, mapping.iova, message.length);
  await send();
  step('The peer writes into it by DMA', `before ${before}`, `after  ${look()}`);

  await exporter.reset();
  clear();
  await send();
  step('A reset of the exporter revokes the buffer: DMA faults', `mapping ${mapping.state}`, `after  ${look()}`);

  mapping.remap();
  await send();
  step('remap() brings it back at the same IOVA', `mapping ${mapping.state}`, `after  ${look()}`);
  if (look() !== message) throw new Error('the bytes did not arrive');
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
