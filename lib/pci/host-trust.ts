// Determines whether Linux trusts a host to route DMA between devices through its host bridges (drivers/pci/p2pdma.c of
// Linux 7.3: cpu_supports_p2pdma(), host_bridge_whitelist()), and says which part of the host decided.
import type { PciFunction } from './function';
import { isKnownHostBridge, isKnownWithin } from './known-host-bridges';

/** The properties of the CPU that the kernel's rules for peer-to-peer DMA depend on. */
export interface Cpu {
  /** 'GenuineIntel', 'AuthenticAMD'; undefined: not an x86 CPU. */
  vendor: string | undefined;
  /** undefined: not an x86 CPU, or its description lacks the family. */
  family: number | undefined;
}

/** A root bus, with the name of its host bridge. @internal */
export interface RootBus {
  name: string;
  bus: readonly PciFunction[];
}

/** Whether DMA passes. undefined: not known. @internal */
export interface HostTrust {
  passes: boolean | undefined;
  /** The part of a sentence: 'the kernel trusts …'. */
  reason: string;
}

/** The kernel trusts AMD CPUs from this family on: Zen and later (arch/x86). */
const firstTrustedFamily = 0x17;
const amd = 'AuthenticAMD';

function cpuTrust(cpu: Cpu | undefined): boolean | undefined {
  if (cpu === undefined || (cpu.vendor === amd && cpu.family === undefined)) return undefined;
  return cpu.vendor === amd && (cpu.family ?? 0) >= firstTrustedFamily;
}

function cpuName(cpu: Cpu | undefined): string {
  if (cpu === undefined) return 'the CPU, which is not known,';
  if (cpu.vendor === undefined) return 'the CPU, which is not x86,';
  return `${cpu.vendor} family ${cpu.family === undefined ? '(not known)' : String(cpu.family)}`;
}

const hex4 = (value: number): string => value.toString(16).padStart(4, '0');
const isRootPort = ({ port, driver, classCode }: PciFunction): boolean | undefined => {
  if (port !== undefined) return port === 'root-port';
  // On a root bus, the only bridges of this driver are root ports.
  return driver === 'pcieport' && classCode >> 8 === 0x0604 ? true : undefined;
};

/** Whether Linux trusts the host bridge, and how a sentence calls it. `same`: both devices are below it. */
function bridgeTrust({ name, bus }: RootBus, same: boolean): { passes: boolean | undefined; text: string } {
  const [first] = bus;
  const unseen = first?.gaps.find(({ what }) => what === 'function');
  if (!first || unseen)
    return { passes: undefined, text: first ? `${name} (${first.address}: ${unseen?.text ?? ''})` : name };
  // Linux identifies a host bridge by the first function on its root bus, if that is function 00.0 or a root port.
  const identifies =
    first.address.endsWith(':00.0') || (isRootPort(first) ?? (first.gaps.length > 0 ? undefined : false));
  if (identifies === false) {
    return { passes: false, text: `${name} (its first function, ${first.address}, is neither 00.0 nor a root port)` };
  }
  const id = `${hex4(first.vendor)}:${hex4(first.device)}`;
  if (isKnownHostBridge(first, same)) {
    const text = identifies
      ? `${name} (${id})`
      : `${name} (only root can read whether ${first.address} is a root port)`;
    return { passes: identifies, text };
  }
  const within = isKnownWithin(first) ? ', which it trusts only between devices below the same host bridge' : '';
  return { passes: false, text: `${name} (${id}${within})` };
}

const both = (texts: readonly string[]): string => `host bridge${texts.length === 1 ? '' : 's'} ${texts.join(' and ')}`;

/** @internal */
export function hostTrust(cpu: Cpu | undefined, a: RootBus, b: RootBus): HostTrust {
  const byCpu = cpuTrust(cpu);
  if (byCpu === true) return { passes: true, reason: `the kernel trusts ${cpuName(cpu)}`.replace(/,$/, '') };
  const bridges = [...new Set([a, b])].map((root) => bridgeTrust(root, a === b));
  if (bridges.every(({ passes }) => passes === true)) {
    return { passes: true, reason: `the kernel trusts ${bridges.map(({ text }) => text).join(' and ')}` };
  }
  const refused = bridges.filter(({ passes }) => passes === false).map(({ text }) => text);
  const doubtful = bridges.filter(({ passes }) => passes === undefined).map(({ text }) => text);
  if (refused.length > 0 && byCpu === false) {
    return { passes: false, reason: `the kernel trusts neither ${cpuName(cpu)} nor the ${both(refused)}` };
  }
  const doubts = [
    ...(byCpu === undefined ? [cpuName(cpu).replace(/,$/, '')] : []),
    ...(refused.length > 0 ? [] : doubtful),
  ];
  return { passes: undefined, reason: `it is not known whether the kernel trusts ${doubts.join(' or ')}` };
}
