// The library's counterpart of bench.cc: the same operations and counts. Prints a "NAME NANOSECONDS" line for each
// round.
//   bench.ts ADDRESS-OF-EXPORTER ADDRESS-OF-PEER
import { setImmediate } from 'node:timers/promises';
import { DmaMemory, Iommufd, VfioDevice } from '../../lib';

const rounds = 5;
const cmbSize = 16n << 20n;

/**
 * Measures rounds of a loop, after as many rounds to warm up. Each operation has its own loop: a shared loop would also
 * measure the call of a function. A round ends after one turn of the event loop, so that its time includes the
 * finalizers of its objects.
 */
async function measure(name: string, count: number, loop: (count: number) => void): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < 2 * rounds; round += 1) {
    const start = process.hrtime.bigint();
    loop(count);
    await setImmediate();
    times.push(Number(process.hrtime.bigint() - start) / count);
  }
  for (const time of times.slice(rounds)) console.log(`${name} ${time.toFixed(2)}`);
}

async function main([exporterAddress = '', peerAddress = '']: string[]): Promise<void> {
  using iommufd = Iommufd.open();
  using ioas = iommufd.allocIoas();
  using exporter = await VfioDevice.open(exporterAddress, { iommufd });
  using peer = await VfioDevice.open(peerAddress, { iommufd });
  await peer.attach(ioas);

  await measure('export', 2000, (count) => {
    for (let i = 0; i < count; i += 1) exporter.exportDmaBuf({ region: 2, offset: 0n, length: cmbSize }).close();
  });
  using buffer = exporter.exportDmaBuf({ region: 2, offset: 0n, length: cmbSize });
  await measure('map-unmap', 1000, (count) => {
    for (let i = 0; i < count; i += 1) ioas.mapDmaBuf(buffer, { iova: 0x1000_0000n }).close();
  });

  using registers = peer.region(0).map({ length: 4096n });
  // The register reads as the complement of the written value. V8 would allocate a heap number for values from 2^31 on.
  registers.write32(4, ~0x1234 >>> 0);
  await measure('read32', 100_000, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i += 1) sum += registers.read32(4);
    return sum;
  });
  await measure('write32', 100_000, (count) => {
    for (let i = 0; i < count; i += 1) registers.write32(4, i);
  });
  const block = new Uint32Array(256);
  await measure('read-block', 256_000, (count) => {
    for (let i = 0; i < count; i += block.length) registers.read(0, block);
  });

  using cmb = exporter.region(2).map({ length: 4096n });
  cmb.write32(8, 0x1234);
  await measure('load32', 100_000, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i += 1) sum += cmb.read32(8);
    return sum;
  });
  await measure('load-block', 256_000, (count) => {
    for (let i = 0; i < count; i += block.length) cmb.read(0, block);
  });
  await measure('store-block', 256_000, (count) => {
    for (let i = 0; i < count; i += block.length) cmb.write(0, block);
  });

  using memory = DmaMemory.alloc(65536);
  using udmabuf = memory.exportDmaBuf();
  await measure('sync', 20_000, (count) => {
    for (let i = 0; i < count; i += 1) {
      udmabuf.beginCpuAccess();
      udmabuf.endCpuAccess();
    }
  });
  await measure('empty-loop', 100_000, (count) => {
    let sum = 0;
    for (let i = 0; i < count; i += 1) sum += i;
    return sum;
  });
}

void main(process.argv.slice(2));
