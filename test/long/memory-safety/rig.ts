// The machine's devices on a fake kernel of their own, and functions that use their objects heavily.
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaMemory, Iommufd, VfioDevice, type Ioas, type MappedRegion } from '../../../lib';
import { FakeKernel } from '../../../lib/fake';

export interface Rig {
  kernel: FakeKernel;
  iommufd: Iommufd;
  ioas: Ioas;
  ssd: VfioDevice;
  /** Attached to the IOAS, with bus mastering enabled. */
  engine: VfioDevice;
  registers: MappedRegion;
}

export function makeRig(): Rig {
  const kernel = new FakeKernel();
  const iommufd = Iommufd.open({ kernel });
  const ioas = iommufd.allocIoas();
  const ssd = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
  const engine = VfioDevice.openSync(kernel.addressOf('engine'), { iommufd });
  engine.attachSync(ioas);
  engine.command.busMaster = true;
  return { kernel, iommufd, ioas, ssd, engine, registers: engine.region(0).map() };
}

export const engineId = 0x010000ed;
export const engineBuffer = 0x40000n;

/** Makes the engine copy bytes from its buffer (`toMemory`) or into it. The fake kernel's engine completes at once. */
export function transfer(registers: MappedRegion, iova: bigint, length: number, toMemory: boolean): void {
  registers.write64(0x80, toMemory ? engineBuffer : iova);
  registers.write64(0x88, toMemory ? iova : engineBuffer);
  registers.write64(0x90, length);
  registers.write32(0x98, toMemory ? 3 : 1);
}

/** Repeats every kind of call forever. */
export function keepBusy({ kernel, iommufd, ioas, ssd, engine, registers }: Rig): void {
  const mapHost = async () => {
    const memory = DmaMemory.alloc(8192, { kernel });
    const mapping = await ioas.mapMemory(memory);
    transfer(registers, mapping.iova, 4096, true);
    mapping.close();
    memory.close();
  };
  const mapPeer = () => {
    const buffer = ssd.exportDmaBuf({ region: 2, offset: 0n, length: 4096n });
    const mapping = ioas.mapDmaBuf(buffer);
    transfer(registers, mapping.iova, 4096, false);
    mapping.close();
    buffer.close();
  };
  const open = async () => {
    const device = await VfioDevice.open(kernel.addressOf('display'), { iommufd });
    device.close();
  };
  const attach = async () => {
    await ssd.attach(ioas);
    await ssd.detach();
  };
  const works = [mapHost, mapHost, async () => mapPeer(), open, attach, () => ssd.reset(), () => engine.reset()];
  const repeat = async (work: () => Promise<void>): Promise<never> => {
    // Two calls of the same kind may fail because of each other, which this case does not test.
    for (;;) await Promise.all([work().catch(() => {}), new Promise(setImmediate)]);
  };
  for (const work of works) void repeat(work);
}

/** Runs the garbage collector and waits for finalizers. */
export async function collect(): Promise<void> {
  for (let i = 0; i < 5; i += 1) {
    globalThis.gc!();
    await sleep(1);
  }
}

/** ArrayBuffer.prototype.transfer(), from Node 22 on. */
export function transferAway(buffer: ArrayBuffer, length?: number): ArrayBuffer | undefined {
  const move = (buffer as { transfer?: (length?: number) => ArrayBuffer }).transfer;
  return move?.call(buffer, length);
}
