// PeerSpace opens devices and maps their memory into one I/O address space, so that they can access each other.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
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
import { bindToVfioAsync, unbindFromVfioAsync } from '../pci/binding';
import type { P2pPath } from '../pci/p2p-path';
import { PciTopology } from '../pci/topology';
import { array, boolean, integer, options, outOfRange, string, u64 } from '../errors/validate';
import { VfioDevice } from '../vfio/device';
import { ofCmb, type DmaRange } from '../vfio/export';

/** A device, with the options for opening it. */
export interface PeerDevice {
  /** The PCI address, or a mediated device's UUID. */
  address: string;
  /** The token of an SR-IOV virtual function: see {@link BindOptions.vfToken}. */
  vfToken?: string;
}

/** Options of {@link PeerSpace.open}. */
export interface PeerSpaceOptions {
  /** The devices, at least one. */
  devices: readonly (string | PeerDevice)[];
  /**
   * Whether to bind devices that have another driver to vfio-pci, and to restore their driver on close. Needs root.
   * Default: false.
   */
  bind?: boolean;
  kernel?: Kernel;
}

/** The events of a {@link PeerSpace}. */
export interface PeerSpaceEvents {
  /** A device revoked a share. DMA of the other devices to it faults. */
  revoked: [share: PeerShare];
  /** The share is mapped again at the same IOVA. */
  restored: [share: PeerShare];
  /** Mapping the share again failed. This is retried at the device's next state change. */
  restoreFailed: [share: PeerShare, error: unknown];
}

/** A part of a device's BAR, mapped for all devices of the space. */
export class PeerShare {
  /** The device that has the memory. */
  readonly device: VfioDevice;
  readonly region: number;
  /** The offset in the BAR, in bytes. */
  readonly offset: bigint;
  /** The dma-buf of this part. It can also be passed to other importers. */
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

  static {
    shown(this, 'state', 'iova', 'length', ['device', ({ device }) => device.address], 'region', 'offset');
  }

  /** @internal */
  constructor(
    made: Key,
    device: VfioDevice,
    at: { region: number; offset: bigint },
    objects: [DmaBuf, IoasMapping],
    forget: () => void,
  ) {
    onlyInside(made, 'PeerShare', 'use PeerSpace#share()');
    const [dmaBuf, mapping] = objects;
    this.device = device;
    this.region = at.region;
    this.offset = at.offset;
    this.dmaBuf = dmaBuf;
    this.mapping = mapping;
    this.#forget = forget;
  }

  /** The IOVA at which the devices access it. */
  get iova(): bigint {
    return this.mapping.iova;
  }

  /** The length in bytes. */
  get length(): bigint {
    return this.mapping.length;
  }

  get state(): MappingState {
    return this.mapping.state;
  }

  /** Unmaps the share and closes the dma-buf. */
  close(): void {
    this.#life.close();
  }

  /** Calls close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

/** Host memory, mapped for all devices of the space. */
export interface PeerMemory {
  memory: DmaMemory;
  /** The memory's content. */
  buffer: ArrayBuffer;
  iova: bigint;
}

/**
 * Devices in one I/O address space. All devices access a share, or host memory, at the same IOVA. The space keeps the
 * devices open until it is closed. After a reset of a device, its shares are mapped again.
 *
 * ```ts
 * await using space = await PeerSpace.open({ devices: ['03:00.0', '04:00.0'] });
 * const cmb = space.share('03:00.0', { region: 2, offset: 0, length: 0x100000 });
 * // 04:00.0 can access it at cmb.iova
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
        await giveBack(space.#bound, space.kernel);
      }
    },
  };
  readonly #life = new Lifetime(this, PeerSpace.#end);

  static {
    shown(this, 'closed', ['devices', ({ devices }) => devices.map(({ address }) => address)], 'shares');
  }

  private constructor(made: Key, ioas: Ioas, devices: readonly VfioDevice[], bound: string[]) {
    onlyInside(made, 'PeerSpace', 'use PeerSpace.open()');
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
   * Opens and binds the devices, attaches them to one IOAS, and enables memory decoding and bus mastering. If one
   * device fails, all changes are undone.
   *
   * @throws as {@link VfioDevice.open}, {@link VfioDevice.attach} and, with `bind`, {@link bindToVfioAsync}
   */
  static async open(opts: PeerSpaceOptions): Promise<PeerSpace> {
    const { devices, bind = false, kernel: chosen } = options(opts, ['devices', 'bind', 'kernel']);
    const wanted = array(devices, 'devices').map((device) =>
      typeof device === 'string' ? { address: device } : options(device, ['address', 'vfToken'], 'device'),
    );
    integer(wanted.length, 'devices.length', 1, 65536);
    for (const { address } of wanted) string(address, 'address');
    const kernel = toKernel(chosen);
    const bound: string[] = [];
    const iommufd = Iommufd.open({ kernel });
    try {
      if (boolean(bind, 'bind')) {
        const together = wanted.map(({ address }) => address);
        for (const address of together) {
          const { steps } = await bindToVfioAsync(address, { sysfs: kernel.sysfs, together });
          if (steps.length > 0) bound.push(address);
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
      return new PeerSpace(key, ioas, opened, bound);
    } catch (error) {
      try {
        await iommufd[Symbol.asyncDispose]();
      } finally {
        await giveBack(bound, kernel);
      }
      throw error;
    }
  }

  /** The devices, in the order passed to {@link PeerSpace.open}. */
  get devices(): readonly VfioDevice[] {
    return this.#devices;
  }

  /** The current shares. */
  get shares(): PeerShare[] {
    return [...this.#shares.values()];
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#life.closed || this.iommufd.closed;
  }

  /**
   * Returns the device with this address. '03:00.0' is in domain 0.
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
   * Exports a part of a device's BAR and maps it for all devices. Offset and length are in bytes, in whole pages.
   * Default length: up to the BAR's end. The share is mapped again after a reset.
   *
   * @param opts the part of the BAR and the access of the devices: {@link MapDmaBufOptions}
   * @throws as {@link VfioDevice.exportDmaBuf} and {@link Ioas.mapDmaBuf}
   */
  share(
    name: string | VfioDevice,
    range: { region: number } & Partial<DmaRange>,
    opts?: Pick<MapDmaBufOptions, 'iova' | 'access'>,
  ): PeerShare {
    this.#check();
    const device = this.device(name);
    const { region: index, offset = 0n, length } = options(range, ['region', 'offset', 'length'], 'range', ofCmb);
    const region = device.region(index);
    const start = u64(offset, 'offset');
    const size = length === undefined ? region.size - start : u64(length, 'length');
    const dmaBuf = device.exportDmaBuf({ region: region.index, offset: start, length: size });
    try {
      const { iova, access } = options(opts, ['iova', 'access']);
      const where = { ...(iova === undefined ? {} : { iova }), ...(access === undefined ? {} : { access }) };
      const mapping = this.ioas.mapDmaBuf(dmaBuf, { ...where, autoRemap: true });
      const share = new PeerShare(key, device, { region: region.index, offset: start }, [dmaBuf, mapping], () =>
        this.#shares.delete(mapping),
      );
      this.#shares.set(mapping, share);
      return share;
    } catch (error) {
      dmaBuf.close();
      throw error;
    }
  }

  /**
   * Allocates zeroed host memory of `size` bytes and maps it for all devices. It is freed when the space is closed.
   * @throws as {@link Ioas.mapMemory}
   */
  async memory(size: number): Promise<PeerMemory> {
    this.#check();
    const memory = DmaMemory.alloc(size, { kernel: this.kernel });
    try {
      const { iova } = await this.ioas.mapMemory(memory);
      this.#memories.push(memory);
      return data({ memory, buffer: memory.buffer, iova });
    } catch (error) {
      memory.close();
      throw error;
    }
  }

  /**
   * Resets a device, then enables memory decoding and bus mastering again and maps its shares at the same IOVAs. The
   * device's other state is lost.
   *
   * @throws as {@link VfioDevice.reset}. Error ERR_NOT_RESTORED: a share is still revoked.
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
   * Returns the kernel's rules for DMA from one device to the other: {@link PciTopology.p2pPath}. {@link share} does
   * not check them. Whether DMA arrives depends on the host.
   */
  path(from: string | VfioDevice, to: string | VfioDevice): P2pPath {
    const address = (name: string | VfioDevice) => this.device(name).address ?? '';
    return PciTopology.read({ sysfs: this.kernel.sysfs }).p2pPath(address(from), address(to));
  }

  #check(): void {
    if (this.closed) throw closedError('peer space');
  }

  /**
   * Closes everything in the order that the kernel requires: mappings, devices (which stops their DMA), the iommufd,
   * then the memory. Restores the drivers of devices that `bind` changed.
   */
  async close(): Promise<void> {
    await this.#life.closeLater();
  }

  /** Calls close(), for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Enables memory decoding and bus mastering, which a reset may disable. */
function enable(device: VfioDevice): void {
  Object.assign(device.command, { memory: true, busMaster: true });
}

/** Restores the driver of each device once. Continues after errors and throws the first one at the end. */
async function giveBack(addresses: string[], kernel: Kernel): Promise<void> {
  const errors: unknown[] = [];
  for (let address = addresses.pop(); address !== undefined; address = addresses.pop()) {
    try {
      await unbindFromVfioAsync(address, { sysfs: kernel.sysfs });
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}
