// The library's side of bench.cc: the same operations, the same counts. Prints "NAME NANOSECONDS" lines.
//   bench.ts ADDRESS-OF-EXPORTER ADDRESS-OF-PEER
import { DmaMemory, Iommufd, VfioDevice } from '../../lib';

const rounds = 5;
const cmbSize = 16n << 20n;

/** The fastest of a few rounds, after as many to warm up: what disturbs a round only makes it slower. */
function measure(name: string, count: number, operation: (i: number) => void): void {
  let best = Infinity;
  for (let round = 0; round < 2 * rounds; round += 1) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < count; i += 1) operation(i);
    const nanoseconds = Number(process.hrtime.bigint() - start) / count;
    if (round >= rounds) best = Math.min(best, nanoseconds);
  }
  console.log(`${name} ${best.toFixed(1)}`);
}

async function main([exporterAddress = '', peerAddress = '']: string[]): Promise<void> {
  using iommufd = Iommufd.open();
  using ioas = iommufd.allocIoas();
  using exporter = await VfioDevice.open(exporterAddress, { iommufd });
  using peer = await VfioDevice.open(peerAddress, { iommufd });
  await peer.attach(ioas);

  measure('export', 2000, () => {
    exporter.exportDmaBuf({ region: 2, offset: 0n, length: cmbSize }).close();
  });
  using buffer = exporter.exportDmaBuf({ region: 2, offset: 0n, length: cmbSize });
  measure('map-unmap', 1000, () => {
    ioas.mapDmaBuf(buffer, { iova: 0x1000_0000n }).close();
  });

  using registers = peer.region(0).map({ length: 4096n });
  let sum = 0;
  measure('read32', 100_000, () => {
    sum += registers.read32(4);
  });
  measure('write32', 100_000, (i) => {
    registers.write32(4, i);
  });
  const block = new Uint32Array(256);
  measure('read-block', 1000, () => {
    registers.read(0, block);
  });

  using cmb = exporter.region(2).map({ length: 4096n });
  measure('load32', 100_000, () => {
    sum += cmb.read32(8);
  });

  using memory = DmaMemory.alloc(65536);
  using udmabuf = memory.exportDmaBuf();
  measure('sync', 20_000, () => {
    udmabuf.beginCpuAccess();
    udmabuf.endCpuAccess();
  });
  if (sum < 0) throw new Error('never');
}

void main(process.argv.slice(2));
