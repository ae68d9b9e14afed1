// Devices that reach each other's memory, without the calls that make it so.
import { EventEmitter } from 'node:events';
import { toKernel } from '../kernel/default-kernel';
import type { DmaBuf } from '../dmabuf/dma-buf';
import { DmaMemory } from '../dmabuf/dma-memory';
import { closedError, codedError } from '../errors/errors';
import type { Ioas } from '../iommufd/ioas';
import { Iommufd } from '../iommufd/iommufd';
import type { IoasMapping, MappingState } from '../iommufd/mapping';
import type { MapDmaBufOptions } from '../iommufd/placement';
import type { Kernel } from '../kernel/kernel';
import { Lifetime, type End } from '../lifetime/lifetime';
import { bindToVfio, unbindFromVfio } from '../pci/binding';
import type { P2pPath } from '../pci/p2p';
import { PciTopology } from '../pci/topology';
import { array, boolean, integer, options, outOfRange, string, u64 } from '../errors/validate';
import { VfioDevice } from '../vfio/device';
import type { DmaRange } from '../vfio/export';

/** A device, and what it takes to open it. */
export interface PeerDevice {
  /** Its PCI address, or a mediated device's UUID. */
  address: string;
  /** Of an SR-IOV virtual function: see {@link BindOptions.vfToken}. */
  vfToken?: string;
}

/** Which devices, and how. */
export interface PeerSpaceOptions {
  /** One or more. */
  devices: readonly (string | PeerDevice)[];
  /** Gives devices that another driver has to vfio-pci, and back to it at the end. Needs root. Default false. */
  bind?: boolean;
  kernel?: Kernel;
}

/** What a {@link PeerSpace} tells. */
export interface PeerSpaceEvents {
  /** A device has taken back what it shares: DMA of the others to it faults. */
  revoked: [share: PeerShare];
  /** It is back at the same IOVA. */
  restored: [share: PeerShare];
  /** It could not be brought back; that is tried again when the device changes next. */
  restoreFailed: [share: PeerShare, error: unknown];
}

/** A part of a device's BAR that all devices of the space reach. */
export class PeerShare {
  /** Whose memory it is. */
  readonly device: VfioDevice;
  readonly region: number;
  /** In the BAR, in bytes. */
  readonly offset: bigint;
  /** To hand to others, as well. */
  readonly dmaBuf: DmaBuf;
  readonly mapping: IoasMapping;
  readonly #forget: () => void;

  static readonly #end: End<PeerShare> = {
    ...{ what: 'peer share', canFail: true, kept: true },
    close: ({ mapping }) => mapping.close(),
    gone: (share) => {
      share.dmaBuf.close();
      share.#forget();
    },
  };
  readonly #life = new Lifetime(this, PeerShare.#end);

  /** @internal */
  constructor(
    device: VfioDevice,
    { region, offset }: { region: number; offset: bigint },
    [dmaBuf, mapping]: [DmaBuf, IoasMapping],
    forget: () => void,
  ) {
    this.device = device;
    this.region = region;
    this.offset = offset;
    this.dmaBuf = dmaBuf;
    this.mapping = mapping;
    this.#forget = forget;
  }

  /** Where the devices reach it. */
  get iova(): bigint {
    return this.mapping.iova;
  }

  /** In bytes. */
  get length(): bigint {
    return this.mapping.length;
  }

  get state(): MappingState {
    return this.mapping.state;
  }

  /** Unmaps it, and closes the dma-buf. */
  close(): void {
    this.#life.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Host memory that all devices of the space reach. */
export interface PeerMemory {
  memory: DmaMemory;
  /** Its bytes. */
  buffer: ArrayBuffer;
  iova: bigint;
}

/**
 * Devices in one I/O address space: what one of them shares, and host memory, is at one IOVA for all. It holds them from
 * `open` until it is closed; a reset of one restores what it shared.
 *
 * ```ts
 * await using space = await PeerSpace.open({ devices: ['03:00.0', '04:00.0'] });
 * const cmb = space.share('03:00.0', { region: 2, offset: 0, length: 0x100000 });
 * // 04:00.0 reaches it at cmb.iova
 * ```
 */
export class PeerSpace extends EventEmitter<PeerSpaceEvents> {
  readonly kernel: Kernel;
  readonly iommufd: Iommufd;
  readonly ioas: Ioas;
  readonly #devices: readonly VfioDevice[];
  readonly #shares = new Map<IoasMapping, PeerShare>();
  readonly #memories: DmaMemory[] = [];
  readonly #bound: string[];

  static readonly #end: End<PeerSpace> = {
    what: 'peer space',
    close: async (space) => {
      try {
        await space.iommufd[Symbol.asyncDispose]();
      } finally {
        for (const { dmaBuf } of space.#shares.values()) dmaBuf.close();
        for (const memory of space.#memories) memory.close();
        space.#shares.clear();
        giveBack(space.#bound, space.kernel);
      }
    },
  };
  readonly #life = new Lifetime(this, PeerSpace.#end);

  private constructor(ioas: Ioas, devices: readonly VfioDevice[], bound: string[]) {
    super();
    this.ioas = ioas;
    this.iommufd = ioas.iommufd;
    this.kernel = ioas.iommufd.kernel;
    this.#devices = devices;
    this.#bound = bound;
    const tell = (name: keyof PeerSpaceEvents) => (mapping: IoasMapping, error?: unknown) => {
      const share = this.#shares.get(mapping);
      if (share && !this.#life.closed) (this as EventEmitter).emit(name, share, error);
    };
    for (const name of ['revoked', 'restored', 'restoreFailed'] as const) ioas.on(name, tell(name));
  }

  /**
   * Opens and binds the devices, attaches them to one IOAS, and lets them decode memory and start DMA. If one fails,
   * everything is as before.
   *
   * @throws as {@link VfioDevice.open}, {@link VfioDevice.attach} and, with `bind`, {@link bindToVfio}
   */
  static async open(opts: PeerSpaceOptions): Promise<PeerSpace> {
    const { devices, bind = false, kernel: chosen } = options(opts);
    const wanted = array(devices, 'devices').map((device) =>
      typeof device === 'string' ? { address: device } : options(device, 'device'),
    );
    integer(wanted.length, 'devices.length', 1, 65536);
    for (const { address } of wanted) string(address, 'address');
    const kernel = toKernel(chosen);
    const bound: string[] = [];
    const iommufd = Iommufd.open({ kernel });
    try {
      if (boolean(bind, 'bind')) {
        for (const { address } of wanted) {
          if (bindToVfio(address, { sysfs: kernel.sysfs }).steps.length > 0) bound.push(address);
        }
      }
      const ioas = iommufd.allocIoas();
      const opened: VfioDevice[] = [];
      for (const { address, vfToken } of wanted) {
        const device = await VfioDevice.open(address, { iommufd, ...(vfToken === undefined ? {} : { vfToken }) });
        await device.attach(ioas);
        enable(device);
        opened.push(device);
      }
      return new PeerSpace(ioas, opened, bound);
    } catch (error) {
      try {
        await iommufd[Symbol.asyncDispose]();
      } finally {
        giveBack(bound, kernel);
      }
      throw error;
    }
  }

  /** In the order of `open`. */
  get devices(): readonly VfioDevice[] {
    return this.#devices;
  }

  /** What is shared now. */
  get shares(): PeerShare[] {
    return [...this.#shares.values()];
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#life.closed || this.iommufd.closed;
  }

  /**
   * The device with this address; '03:00.0' is in domain 0.
   *
   * @throws RangeError ERR_OUT_OF_RANGE: it is not in the space
   */
  device(name: string | VfioDevice): VfioDevice {
    const names = typeof name === 'string' ? [name, `0000:${name}`] : [];
    const found = this.#devices.find((device) => device === name || names.includes(device.address ?? ''));
    if (found) return found;
    throw outOfRange('device', `one of ${this.#devices.map(({ address }) => address).join(', ')}`, name);
  }

  /**
   * Exports a part of a device's BAR, and maps it for all. Bytes, in whole pages; without `length` to the BAR's end.
   *
   * @param opts where, and how the devices may use it: {@link MapDmaBufOptions}. It is brought back after a reset.
   * @throws as {@link VfioDevice.exportDmaBuf} and {@link Ioas.mapDmaBuf}
   */
  share(
    name: string | VfioDevice,
    range: { region: number } & Partial<DmaRange>,
    opts?: Pick<MapDmaBufOptions, 'iova' | 'access'>,
  ): PeerShare {
    this.#check();
    const device = this.device(name);
    const { region: index, offset = 0n, length } = options(range, 'range');
    const region = device.region(index);
    const start = u64(offset, 'offset');
    const size = length === undefined ? region.size - start : u64(length, 'length');
    const dmaBuf = device.exportDmaBuf({ region: region.index, offset: start, length: size });
    try {
      const { iova, access } = options(opts);
      const where = { ...(iova === undefined ? {} : { iova }), ...(access === undefined ? {} : { access }) };
      const mapping = this.ioas.mapDmaBuf(dmaBuf, { ...where, autoRemap: true });
      const share = new PeerShare(device, { region: region.index, offset: start }, [dmaBuf, mapping], () =>
        this.#shares.delete(mapping),
      );
      this.#shares.set(mapping, share);
      return share;
    } catch (error) {
      dmaBuf.close();
      throw error;
    }
  }

  /** Host memory for all, zeroed; `size` in bytes. It lives as long as the space. @throws as {@link Ioas.mapMemory} */
  async memory(size: number): Promise<PeerMemory> {
    this.#check();
    const memory = DmaMemory.alloc(size, { kernel: this.kernel });
    try {
      const { iova } = await this.ioas.mapMemory(memory);
      this.#memories.push(memory);
      return { memory, buffer: memory.buffer, iova };
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  /**
   * Resets a device, and takes it back into service: it decodes memory and may start DMA, and what it shares is at the
   * same IOVAs again. What its driver set up in it is gone.
   *
   * @throws as {@link VfioDevice.reset}; Error ERR_NOT_RESTORED: a share is still revoked.
   */
  async reset(name: string | VfioDevice): Promise<void> {
    this.#check();
    const device = this.device(name);
    await device.reset();
    enable(device);
    for (const share of this.#shares.values()) {
      if (share.device !== device || share.state === 'live') continue;
      try {
        share.mapping.remap();
      } catch (error) {
        const message = `what ${device.address ?? 'the device'} shares at ${String(share.iova)} could not be mapped again`;
        throw codedError('ERR_NOT_RESTORED', message, error);
      }
    }
  }

  /**
   * What the kernel's rules say of DMA from one device to the other: {@link PciTopology.p2pPath}. They are not asked by
   * {@link share}, which works all the same; whether DMA arrives is the host's matter.
   */
  path(from: string | VfioDevice, to: string | VfioDevice): P2pPath {
    const address = (name: string | VfioDevice) => this.device(name).address ?? '';
    return PciTopology.read({ sysfs: this.kernel.sysfs }).p2pPath(address(from), address(to));
  }

  #check(): void {
    if (this.closed) throw closedError('peer space');
  }

  /**
   * Closes all in the kernel's order: mappings, devices, which stops their DMA, the iommufd; then the memory. Gives devices
   * back that `bind` took.
   */
  async close(): Promise<void> {
    await this.#life.closeLater();
  }

  /** close(), for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Does what a reset may have undone. */
function enable(device: VfioDevice): void {
  Object.assign(device.command, { memory: true, busMaster: true });
}

/** Gives each back once, also where another cannot be; the first error is thrown at the end. */
function giveBack(addresses: string[], kernel: Kernel): void {
  const errors: unknown[] = [];
  for (let address = addresses.pop(); address !== undefined; address = addresses.pop()) {
    try {
      unbindFromVfio(address, { sysfs: kernel.sysfs });
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
