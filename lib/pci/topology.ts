// PciTopology reads the tree of a host's PCI functions from sysfs.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { existsSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { attempt, list, text } from '../kernel/look';
import { codedError } from '../errors/errors';
import { array, fields, options, string, u64 } from '../errors/validate';
import { readFunction, shownFunction, type LoneFunction, type PciFunction } from './function';
import { isBridge } from './names';
import { P2pRules, type P2pPath } from './p2p';
import { P2pMatrix } from './p2p-matrix';
import { shareIoas, type SharedIoas } from './shared-ioas';
import { toAddress } from './sysfs';
import { defaultKernel } from '../kernel/default-kernel';

/** The properties of the CPU that the kernel's rules for peer-to-peer DMA depend on. */
export interface Cpu {
  /** 'GenuineIntel', 'AuthenticAMD'; undefined: not an x86 CPU. */
  vendor: string | undefined;
  family: number;
}

/** Options of {@link PciTopology.read}. */
export interface TopologyOptions {
  /**
   * The path of sysfs, for example of a fake kernel or a copy from another host. Default: that of the kernel that
   * VFIO_DMABUF_KERNEL selects, which is /sys for the system's.
   */
  sysfs?: string;
  /**
   * The CPU's description in the format of /proc/cpuinfo. Default: the content of proc/cpuinfo next to `sysfs`, which
   * is /proc/cpuinfo for /sys.
   */
  cpuinfo?: string;
}

const smallestPage = 4096;
const hostBridgeName = /^pci[0-9a-f]{4,}:[0-9a-f]{2}$/;

type Placed = LoneFunction & { hostBridge: string; parent: Placed | undefined; children: Placed[] };

/** The names on the path from the host bridge to the device: 'pci0000:00', '0000:00:01.0', '0000:01:00.0'. */
function wayTo(folder: string): string[] {
  const names = (attempt(() => realpathSync(folder)) ?? folder).split('/');
  // A bridge that creates its own PCI domain (VMD) has a host bridge below it, so the last host bridge is used.
  const bridge = names.filter((name) => hostBridgeName.test(name)).at(-1);
  return bridge === undefined ? ['pci0000:00', basename(folder)] : names.slice(names.lastIndexOf(bridge));
}

function toCpu(cpuinfo: string): Cpu | undefined {
  if (cpuinfo === '') return undefined;
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(cpuinfo)?.[1];
  return { vendor: field('vendor_id'), family: Number(field('cpu family') ?? 0) };
}

/** A function or its address. A {@link VfioDevice} is also accepted. */
export type FunctionName = string | { readonly address: string };

/** The PCI functions of a host at the time of reading. */
export class PciTopology {
  /** undefined: unknown. */
  readonly cpu: Cpu | undefined;
  /** The functions by address, ascending. */
  readonly functions: ReadonlyMap<string, PciFunction>;
  /** The functions on each root bus in the order of addresses, by the host bridge's name ('pci0000:00'). */
  readonly hostBridges: ReadonlyMap<string, readonly PciFunction[]>;
  readonly #rules: P2pRules;

  readonly #sysfs: string;

  static {
    shown(
      this,
      'cpu',
      ['hostBridges', ({ hostBridges }) => [...hostBridges.keys()]],
      ['functions', ({ functions }) => [...functions.values()]],
    );
  }

  private constructor(made: Key, sysfs: string, functions: ReadonlyMap<string, PciFunction>, cpu: Cpu | undefined) {
    onlyInside(made, 'PciTopology', 'use PciTopology.read()');
    const hostBridges = new Map<string, PciFunction[]>();
    for (const found of functions.values()) {
      if (found.parent) continue;
      const bus = hostBridges.get(found.hostBridge);
      if (bus) bus.push(found);
      else hostBridges.set(found.hostBridge, [found]);
    }
    this.#sysfs = sysfs;
    this.functions = functions;
    this.hostBridges = hostBridges;
    this.cpu = cpu;
    this.#rules = new P2pRules(this);
  }

  /**
   * Reads the topology from sysfs.
   *
   * Only root can read Access Control Services (otherwise {@link PciFunction.acs} is `unreadable`) and resizable BARs.
   *
   * @throws Error ERR_NO_PCI: bus/pci/devices does not exist. ERR_UNKNOWN_KERNEL: VFIO_DMABUF_KERNEL has no valid value.
   */
  static read(opts?: TopologyOptions): PciTopology {
    const { sysfs = defaultKernel().sysfs, cpuinfo } = options(opts, ['sysfs', 'cpuinfo']);
    const devices = join(string(sysfs, 'sysfs'), 'bus/pci/devices');
    if (!existsSync(devices)) throw codedError('ERR_NO_PCI', `there is no ${devices}: no PCI, or sysfs is elsewhere`);
    const cpu = cpuinfo === undefined ? text(join(sysfs, '../proc/cpuinfo')) : string(cpuinfo, 'cpuinfo');
    return new PciTopology(key, sysfs, readFunctions(devices), toCpu(cpu));
  }

  /**
   * Returns the function with this address. '03:00.0' is in domain 0.
   *
   * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE; Error ERR_NO_SUCH_DEVICE
   */
  find(name: FunctionName): PciFunction {
    const address = toAddress(string(typeof name === 'string' ? name : fields(name, 'name').address, 'address'));
    const found = this.functions.get(address);
    if (!found) throw codedError('ERR_NO_SUCH_DEVICE', `there is no PCI device ${address}`);
    return found;
  }

  /**
   * Determines whether DMA of one function can access the memory of the other, by the rules that the kernel applies to
   * its own drivers (drivers/pci/p2pdma.c). The result applies in both directions. IOMMUFD does not check these rules;
   * {@link sharedIoas} returns what it checks.
   *
   * @throws as {@link find}
   */
  p2pPath(from: FunctionName, to: FunctionName): P2pPath {
    return this.#rules.path(this.find(from), this.find(to));
  }

  /**
   * Determines whether IOMMUFD can attach these devices to one Ioas, with room for a mapping.
   *
   * It does not check the path between them. DMA to an IOVA goes through the IOMMU, and therefore through the host
   * bridge, even if the verdict of {@link p2pPath} is `direct`. The exception is a device that gets translated
   * addresses from the IOMMU (ATS). Otherwise it depends on the host bridge whether the DMA arrives.
   *
   * @param options length: the length of the range to map, in bytes. Default: 4096
   * @throws as {@link find}; RangeError ERR_OUT_OF_RANGE
   */
  sharedIoas(devices: readonly FunctionName[], opts?: { length?: bigint | number }): SharedIoas {
    const { length = smallestPage } = options(opts, ['length']);
    const chosen = array(devices, 'devices').map((name) => this.find(name));
    return shareIoas(this.#sysfs, chosen, [...this.functions.values()], u64(length, 'length', 1n));
  }

  /**
   * Returns the verdicts on all pairs.
   *
   * @param devices the functions. Default: all except bridges
   * @throws as {@link find}
   */
  p2pMatrix(devices?: readonly FunctionName[]): P2pMatrix {
    const chosen =
      devices === undefined
        ? [...this.functions.values()].filter((found) => !isBridge(found))
        : array(devices, 'devices').map((name) => this.find(name));
    return new P2pMatrix(key, this.#rules, chosen);
  }
}

/** Reads all functions in a folder of sysfs and builds their tree. */
function readFunctions(devices: string): ReadonlyMap<string, PciFunction> {
  const functions = new Map<string, Placed>();
  const parents = new Map<Placed, string | undefined>();
  for (const address of list(devices).sort()) {
    const folder = join(devices, address);
    const way = wayTo(folder);
    const [hostBridge = ''] = way;
    const found: Placed = shownFunction({
      ...readFunction(folder, address),
      hostBridge,
      parent: undefined,
      children: [],
    });
    functions.set(address, found);
    parents.set(found, way.at(-2));
  }
  for (const [found, name = ''] of parents) {
    found.parent = functions.get(name);
    found.parent?.children.push(found);
  }
  return functions;
}
