// Another process, which receives shared dma-bufs from a socket. It shows how an RDMA application registers a dma-buf,
// and accesses it with a device of its own. Run `importer.ts PATH DEVICE`; share.ts also calls it.
import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { PeerSpace, ShareClient, type SharedBuffer } from 'vfio-dmabuf';
import { hex, run } from './devices';
import { Edu } from './edu';

const say = (text: string) => console.log(`   importer ${String(process.pid)}: ${text}`);

/** The arguments of libibverbs' ibv_reg_dmabuf_mr(3) for the whole buffer, with keys that count from 0. */
const registration = ({ dmaBuf, size }: SharedBuffer) =>
  `ibv_reg_dmabuf_mr(pd, 0, ${hex(size)}, 0, ${String(dmaBuf.fd)}, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ)`;

/** `reached` is called when the importer's device has written to the buffer and read from it. */
export async function importBuffers(path: string, engineAddress: string, reached: () => void): Promise<void> {
  using client = await ShareClient.connect(path);
  for (const { name, size, state } of client.buffers) say(`${name}, ${String(size >> 10n)} KiB, ${state}`);
  const [buffer] = client.buffers;
  assert(buffer);
  say(`for RDMA: ${registration(buffer)}`);

  await using space = await PeerSpace.open({ devices: [engineAddress] });
  const engine = new Edu(space.device(engineAddress));
  const memory = await space.memory(8192);
  const [sent, back] = [Buffer.from(memory.buffer, 0, 4096), Buffer.from(memory.buffer, 4096)];
  randomFillSync(sent);
  const reach = async () => {
    const mapping = space.ioas.mapDmaBuf(buffer.dmaBuf);
    await engine.copy(memory.iova, mapping.iova, 4096);
    await engine.copy(mapping.iova, memory.iova + 4096n, 4096);
    assert(back.equals(sent));
    say(`${engineAddress} writes to it at IOVA ${hex(mapping.iova)}, and reads the same back`);
    return mapping;
  };
  const mapping = await reach();
  const restored = new Promise((resolve) => client.once('restored', resolve));
  reached();

  // The mapping is invalid after the buffer is revoked, and must be made again.
  await restored;
  say(`told that its device took it back: generation ${String(buffer.generation)}, ${buffer.state} again`);
  mapping.close();
  back.fill(0);
  await reach();
}

if (require.main === module) {
  const [path = '', engineAddress = ''] = process.argv.slice(2);
  run(() => importBuffers(path, engineAddress, () => process.send?.('reached')));
}
