// PciTopology reads the tree of a host's PCI functions from sysfs.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from '../kernel/look';
import { defaultKernel } from '../kernel/default-kernel';
import { codedError } from '../errors/errors';
import { array, fields, options, string, u64 } from '../errors/validate';
import type { PciFunction } from './function';
import type { Cpu } from './host-trust';
import { adviseHost, type HostAdvice } from './host-advice';
import { commandLineMistakes, type CommandLineMistake } from './kernel-command-line';
import { isBridge } from './names';
import { P2pRules } from './p2p';
import type { P2pPath } from './p2p-path';
import { P2pMatrix } from './p2p-matrix';
import { shareIoas, type SharedIoas } from './shared-ioas';
import { toAddress } from './sysfs';
import { readTree, type PciTree } from './tree';

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
  /** The kernel's command line. Default: the content of proc/cmdline next to `sysfs`. */
  cmdline?: string;
}

const smallestPage = 4096;
/** A line that only the description of an x86 CPU has. */
const onlyX86 = /^(?:cpu family|microcode|cpuid level)\s*:/m;

/** Returns undefined if the description is missing, or if it is of an x86 CPU but lacks the vendor. */
function toCpu(cpuinfo: string): Cpu | undefined {
  const field = (name: string) => new RegExp(`^${name}\\s*:\\s*(.*\\S)`, 'm').exec(cpuinfo)?.[1];
  const [vendor, family] = [field('vendor_id'), field('cpu family')];
  if (cpuinfo.trim() === '' || (vendor === undefined && onlyX86.test(cpuinfo))) return undefined;
  return { vendor, family: family === undefined ? undefined : Number(family) };
}

/** A function or its address. A {@link VfioDevice} is also accepted. */
export type FunctionName = string | { readonly address: string };

/** The PCI functions of a host at the time of reading. */
export class PciTopology {
  /** undefined: unknown. */
  readonly cpu: Cpu | undefined;
  /** The functions by address, ascending. */
  readonly functions: ReadonlyMap<string, PciFunction>;
  /**
   * The functions on each root bus in the order of addresses, by the host bridge's name ('pci0000:00'). The tree also
   * contains {@link unseen} functions. Functions whose place is not known are at the host bridge 'unknown'.
   */
  readonly hostBridges: ReadonlyMap<string, readonly PciFunction[]>;
  /**
   * Functions of which sysfs has only the name, by address, ascending: bridges that are missing although others are
   * below them, and links without a folder. Their `gaps` say what is missing. A complete sysfs has none.
   */
  readonly unseen: ReadonlyMap<string, PciFunction>;
  /** The kernel's command line; undefined: unknown. */
  readonly commandLine: string | undefined;
  readonly #rules: P2pRules;
  readonly #sysfs: string;

  static {
    shown(
      this,
      'cpu',
      ['hostBridges', ({ hostBridges }) => [...hostBridges.keys()]],
      ['functions', ({ functions }) => [...functions.values()]],
      ['unseen', ({ unseen }) => [...unseen.values()]],
    );
  }

  private constructor(made: Key, sysfs: string, tree: PciTree, cpu: Cpu | undefined, commandLine: string | undefined) {
    onlyInside(made, 'PciTopology', 'use PciTopology.read()');
    const { functions, hostBridges, unseen } = tree;
    this.#sysfs = sysfs;
    this.functions = functions;
    this.hostBridges = hostBridges;
    this.unseen = unseen;
    this.cpu = cpu;
    this.commandLine = commandLine;
    this.#rules = new P2pRules(this);
  }

  /**
   * Reads the topology from sysfs.
   *
   * Only root can read Access Control Services (otherwise {@link PciFunction.acs} is `unreadable`) and resizable BARs.
   * What cannot be read, or is missing in a copy, is in {@link PciFunction.gaps}.
   *
   * @throws Error ERR_NO_PCI: bus/pci/devices does not exist. ERR_UNKNOWN_KERNEL: VFIO_DMABUF_KERNEL has no valid value.
   */
  static read(opts?: TopologyOptions): PciTopology {
    const { sysfs = defaultKernel().sysfs, cpuinfo, cmdline } = options(opts, ['sysfs', 'cpuinfo', 'cmdline']);
    const devices = join(string(sysfs, 'sysfs'), 'bus/pci/devices');
    if (!existsSync(devices)) throw codedError('ERR_NO_PCI', `there is no ${devices}: no PCI, or sysfs is elsewhere`);
    const cpu = cpuinfo === undefined ? text(join(sysfs, '../proc/cpuinfo')) : string(cpuinfo, 'cpuinfo');
    const line = cmdline === undefined ? text(join(sysfs, '../proc/cmdline')) : string(cmdline, 'cmdline');
    return new PciTopology(key, sysfs, readTree(sysfs), toCpu(cpu), line.trim() || undefined);
  }

  /**
   * Returns the function with this address, which may be one of {@link unseen}. '03:00.0' is in domain 0.
   *
   * @throws TypeError ERR_INVALID_ARG_TYPE; RangeError ERR_OUT_OF_RANGE; Error ERR_NO_SUCH_DEVICE
   */
  find(name: FunctionName): PciFunction {
    const address = toAddress(string(typeof name === 'string' ? name : fields(name, 'name').address, 'address'));
    const found = this.functions.get(address) ?? this.unseen.get(address);
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
   * Returns the smallest change that makes these devices reach each other directly: the ports whose Access Control
   * Services must not redirect, as a kernel parameter; the IOMMU groups that result, and what that gives up; moves to other
   * slots; and what else concerns these devices.
   *
   * @throws as {@link find}
   */
  advise(devices: readonly FunctionName[]): HostAdvice {
    const chosen = [...new Set(array(devices, 'devices').map((name) => this.find(name)))];
    return adviseHost(this, chosen, (found) => !isBridge(found));
  }

  /** Returns the mistakes on the kernel's command line, in what concerns peer-to-peer DMA and IOMMUs. */
  commandLineMistakes(): CommandLineMistake[] {
    return commandLineMistakes(this.commandLine ?? '', [...this.functions.values()], this.cpu?.vendor !== undefined);
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
