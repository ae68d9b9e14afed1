// A short program that uses the library's main features, and the conditions at its end under any attack: live mappings
// exist, and calls that the kernel refuses fail.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DmaMemory, Eventfd, Iommufd, ShareClient, ShareServer, VfioDevice } from '../../../lib';
import type { DmaBuf, Ioas, IoasMapping, MappedRegion } from '../../../lib';
import { FakeKernel } from '../../../lib/fake';
import { native } from '../../../lib/addon/native';

const page = 4096;
const cmb = { region: 2, offset: 0n, length: 0x10000n };

/** The objects and results of one run, for the later checks. */
export class Made {
  mappings: IoasMapping[] = [];
  readonly closables: { close: () => void }[] = [];
  /** Calls that the kernel refused but that returned. */
  readonly succeeded: string[] = [];
  /** Errors of calls that should have succeeded. */
  readonly errors: unknown[] = [];

  keep<T extends { close: () => void }>(object: T): T {
    const { closables } = this;
    closables[closables.length] = object;
    return object;
  }
}

export class Stage {
  readonly kernel: FakeKernel;
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;
  readonly engine: VfioDevice;
  readonly registers: MappedRegion;
  readonly folder = mkdtempSync(path.join(tmpdir(), 'vfio-dmabuf-hostile-'));
  #runs = 0;

  constructor(kernel = new FakeKernel()) {
    this.kernel = kernel;
    this.iommufd = Iommufd.open({ kernel });
    this.ioas = this.iommufd.allocIoas();
    this.engine = VfioDevice.openSync(kernel.addressOf('engine'), { iommufd: this.iommufd });
    this.engine.attachSync(this.ioas);
    this.engine.command.busMaster = true;
    this.registers = this.engine.region(0).map();
  }

  /**
   * Closes the iommufd. An attack can leave holes in the library's own arrays. Then closing fails, and the garbage
   * collector closes the rest.
   */
  close(): void {
    try {
      this.iommufd.close();
    } catch {
      // See above.
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Runs the synchronous part. */
  runSync(made: Made): void {
    const { kernel, iommufd, ioas } = this;
    const attempt = <T>(work: () => T): T | undefined => {
      try {
        return work();
      } catch (error) {
        made.errors[made.errors.length] = error;
        return undefined;
      }
    };
    const ssd = attempt(() => made.keep(VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd })));
    attempt(() => ssd?.attachSync(ioas));
    attempt(() => this.#interrupts(made, ssd));
    const buffer = attempt(() => made.keep(ssd!.exportDmaBuf(cmb)));
    attempt(() => {
      const mapping = made.keep(ioas.mapDmaBuf(buffer!));
      made.mappings[made.mappings.length] = mapping;
    });
    const memory = attempt(() => made.keep(DmaMemory.alloc(2 * page, { kernel })));
    attempt(() => {
      new Uint8Array(memory!.buffer)[0] = 7;
      const mapping = made.keep(ioas.mapMemorySync(memory!));
      made.mappings[made.mappings.length] = mapping;
    });
    attempt(() => {
      const registers = made.keep(this.engine.region(0).map());
      registers.read32(0);
      registers.write64(0x80, 1n);
      registers.read(0, new Uint32Array(2));
    });
    attempt(() => {
      const other = made.keep(memory!.exportDmaBuf());
      other.beginCpuAccess('rw');
      other.endCpuAccess('rw');
      const pages = made.keep(other.map());
      pages.write(0, new Uint8Array(8));
      pages.read(0, new Uint8Array(8));
    });
    attempt(() => ssd?.resetSync());
    attempt(() => ioas.iovaRanges());
    if (buffer) this.#refused(made, buffer);
    attempt(() => {
      const mapping = ioas.mapDmaBuf(buffer!, { length: page });
      mapping.close();
    });
  }

  #interrupts(made: Made, ssd: VfioDevice | undefined): void {
    const eventfd = made.keep(Eventfd.create({ kernel: this.kernel }));
    eventfd.signal(2n);
    if (eventfd.take() !== 2n) throw new Error('an eventfd counted wrong');
    const { msix } = ssd!.interrupts;
    msix.enable(2);
    msix.trigger(0);
    msix.disable();
  }

  /** Makes calls that must all fail. */
  #refused(made: Made, buffer: DmaBuf): void {
    const { ioas, kernel } = this;
    const first = made.mappings[0];
    const calls: Record<string, () => unknown> = {
      'an IOVA that is not aligned': () => ioas.mapDmaBuf(buffer, { iova: 1n }),
      'an IOVA outside the IOAS': () => ioas.mapDmaBuf(buffer, { iova: 0xffff_ffff_ffff_0000n }),
      'an IOVA that is taken': () => first && ioas.mapDmaBuf(buffer, { iova: first.iova }),
      'unmapping nothing': () => ioas.unmap(0x7000_0000_0000n, page),
      'an fd that is not open': () => Eventfd.fromFd(0x7fff_fffe, { kernel }),
      'more than a count can be': () => {
        const eventfd = made.keep(Eventfd.create({ kernel }));
        eventfd.signal(0xffff_ffff_ffff_fffen);
        eventfd.signal(2n);
      },
      'a native call': () => native.dmaBufSync(buffer.handle)(0xff),
      'a native call of an IOAS': () => native.ioasUnmap(ioas.handle, 1n, 1n, false),
      'memory that nobody has': () => native.memoryAllocate(kernel.handle, 0xffff_ffff_ffff_0000n, 0, false),
    };
    for (const name in calls) {
      if (!Object.hasOwn(calls, name) || (name.endsWith('taken') && first === undefined)) continue;
      try {
        calls[name]!();
      } catch {
        continue;
      }
      made.succeeded[made.succeeded.length] = name;
    }
  }

  /** Runs the part that needs the event loop. */
  async runAsync(made: Made): Promise<void> {
    const { kernel, iommufd, ioas } = this;
    const display = made.keep(await VfioDevice.open(kernel.addressOf('display'), { iommufd }));
    await display.attach(ioas);
    const memory = made.keep(DmaMemory.alloc(page, { kernel }));
    const mapping = made.keep(await ioas.mapMemory(memory));
    made.mappings[made.mappings.length] = mapping;
    const refused = ioas.mapMemory(memory, { iova: mapping.iova });
    try {
      await refused;
      made.succeeded[made.succeeded.length] = 'an IOVA that is taken, later';
    } catch {
      // Expected.
    }
    const eventfd = made.keep(Eventfd.create({ kernel }));
    eventfd.signal();
    for await (const count of eventfd.listen()) {
      if (count === 1n) break;
    }
    this.#runs += 1;
    const dmaBuf = made.keep(display.exportDmaBuf({ region: 0, offset: 0n, length: 0x10000n }));
    const at = path.join(this.folder, String(this.#runs));
    const server = made.keep(new ShareServer(at, [{ name: 'vram', dmaBuf }]));
    const client = made.keep(await ShareClient.connect(at, { kernel }));
    client.find('vram');
    client.close();
    server.close();
    await display.reset();
  }

  /** Checks a run after the attack has ended. Returns the faults. */
  check(made: Made): string[] {
    const wrong = made.succeeded.map((name) => `came back: ${name}`);
    this.kernel.takeFaults();
    for (const mapping of made.mappings) {
      if (mapping.state !== 'live') continue;
      this.#transfer(mapping.iova);
      if (this.kernel.takeFaults().length > 0) wrong.push(`is not there: a mapping at ${mapping.iova}`);
    }
    for (const object of made.closables.reverse()) {
      try {
        object.close();
      } catch {
        // An attack left the object incomplete.
      }
    }
    return wrong;
  }

  #transfer(iova: bigint): void {
    const { registers } = this;
    registers.write64(0x80, iova);
    registers.write64(0x88, 0x40000n);
    registers.write64(0x90, 64);
    registers.write32(0x98, 1);
  }
}
