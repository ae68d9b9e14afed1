// The tree of a host's PCI functions, from sysfs.
import { existsSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { attempt, list, text } from '../kernel/look';
import { codedError } from '../errors/errors';
import { array, options, string, u64 } from '../errors/validate';
import { readFunction, type LoneFunction, type PciFunction } from './function';
import { isBridge } from './names';
import { P2pRules, type P2pPath } from './p2p';
import { P2pMatrix } from './p2p-matrix';
import { shareIoas, type SharedIoas } from './shared-ioas';
import { toAddress } from './sysfs';
import { native } from '../addon/native';

/** The CPU, as far as the kernel's rules for peer-to-peer DMA ask for it. */
export interface Cpu {
  /** 'GenuineIntel', 'AuthenticAMD'; undefined: not an x86. */
  vendor: string | undefined;
  family: number;
}

/** Where to read from. */
export interface TopologyOptions {
  /** Where sysfs is; default /sys. A fake kernel's, or a copy of another host's, works as well. */
  sysfs?: string;
  /**
   * The CPU's description, as /proc/cpuinfo has it; default: the file proc/cpuinfo beside `sysfs`, which is /proc/cpuinfo
   * for /sys.
   */
  cpuinfo?: string;
}

const hostBridgeName = /^pci[0-9a-f]{4,}:[0-9a-f]{2}$/;

type Placed = LoneFunction & { hostBridge: string; parent: Placed | undefined; children: Placed[] };

/** The names on the way from the host bridge to the device: 'pci0000:00', '0000:00:01.0', '0000:01:00.0'. */
function wayTo(folder: string): string[] {
  const names = (attempt(() => realpathSync(folder)) ?? folder).split('/');
  // A bridge that makes a PCI domain of its own (VMD) has a host bridge below it: the last one counts.
  const bridge = names.filter((name) => hostBridgeName.test(name)).at(-1);
  return bridge === undefined ? ['pci0000:00', basename(folder)] : names.slice(names.lastIndexOf(bridge));
}

function toCpu(cpuinfo: string): Cpu | undefined {
  if (cpuinfo === '') return undefined;
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(cpuinfo)?.[1];
  return { vendor: field('vendor_id'), family: Number(field('cpu family') ?? 0) };
}

/** A function, by itself or by its address; a {@link VfioDevice} is taken, too. */
export type FunctionName = string | { readonly address: string };

/** The PCI functions of a host, as they were when it was read. */
export class PciTopology {
  /** undefined: it is not known. */
  readonly cpu: Cpu | undefined;
  /** By address, ascending. */
  readonly functions: ReadonlyMap<string, PciFunction>;
  /** By the host bridge's name ('pci0000:00'): what is on its root bus, in the order of addresses. */
  readonly hostBridges: ReadonlyMap<string, readonly PciFunction[]>;
  readonly #rules: P2pRules;

  readonly #sysfs: string;

  private constructor(sysfs: string, functions: ReadonlyMap<string, PciFunction>, cpu: Cpu | undefined) {
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
   * Reads it from sysfs.
   *
   * Users other than root are not shown Access Control Services ({@link PciFunction.acs} is `unreadable` then), nor
   * resizable BARs.
   *
   * @throws Error ERR_NO_PCI: there is no bus/pci/devices
   */
  static read(opts?: TopologyOptions): PciTopology {
    const { sysfs = '/sys', cpuinfo } = options(opts);
    const devices = join(string(sysfs, 'sysfs'), 'bus/pci/devices');
    if (!existsSync(devices)) throw codedError('ERR_NO_PCI', `there is no ${devices}: no PCI, or sysfs is elsewhere`);
    const cpu = cpuinfo === undefined ? text(join(sysfs, '../proc/cpuinfo')) : string(cpuinfo, 'cpuinfo');
    return new PciTopology(sysfs, readFunctions(devices), toCpu(cpu));
  }

  /**
   * The function with this address; '03:00.0' is in domain 0.
   *
   * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE; Error ERR_NO_SUCH_DEVICE
   */
  find(name: FunctionName): PciFunction {
    const address = toAddress(string(typeof name === 'string' ? name : options(name).address, 'address'));
    const found = this.functions.get(address);
    if (!found) throw codedError('ERR_NO_SUCH_DEVICE', `there is no PCI device ${address}`);
    return found;
  }

  /**
   * Whether DMA of the one reaches the memory of the other, by the kernel's rules for its own drivers
   * (drivers/pci/p2pdma.c): the same both ways. IOMMUFD does not ask them; {@link sharedIoas} tells what it does ask.
   *
   * @throws as {@link find}
   */
  p2pPath(from: FunctionName, to: FunctionName): P2pPath {
    return this.#rules.path(this.find(from), this.find(to));
  }

  /**
   * Whether IOMMUFD would attach these devices to one Ioas, with room for a mapping.
   *
   * It makes no check of the path between them. DMA to an IOVA passes the IOMMU, and so the host bridge, even where
   * {@link p2pPath} calls the path `direct`, unless the device asks the IOMMU for addresses itself (ATS): what matters is
   * whether the host passes it on.
   *
   * @param options length: of the range to map, in bytes; default a page
   * @throws as {@link find}; RangeError ERR_OUT_OF_RANGE
   */
  sharedIoas(devices: readonly FunctionName[], opts?: { length?: bigint | number }): SharedIoas {
    const { length = native.pageSize } = options(opts);
    const chosen = array(devices, 'devices').map((name) => this.find(name));
    return shareIoas(this.#sysfs, chosen, [...this.functions.values()], u64(length, 'length', 1n));
  }

  /**
   * The verdicts on all pairs.
   *
   * @param devices default: all functions but bridges
   * @throws as {@link find}
   */
  p2pMatrix(devices?: readonly FunctionName[]): P2pMatrix {
    const chosen =
      devices === undefined
        ? [...this.functions.values()].filter((found) => !isBridge(found))
        : array(devices, 'devices').map((name) => this.find(name));
    return new P2pMatrix(this.#rules, chosen);
  }
}

/** All functions in a folder of sysfs, each with its place in the tree. */
function readFunctions(devices: string): ReadonlyMap<string, PciFunction> {
  const functions = new Map<string, Placed>();
  const parents = new Map<Placed, string | undefined>();
  for (const address of list(devices).sort()) {
    const folder = join(devices, address);
    const way = wayTo(folder);
    const [hostBridge = ''] = way;
    const found = { ...readFunction(folder, address), hostBridge, parent: undefined, children: [] };
    functions.set(address, found);
    parents.set(found, way.at(-2));
  }
  for (const [found, name = ''] of parents) {
    found.parent = functions.get(name);
    found.parent?.children.push(found);
  }
  return functions;
}
