// Describes a host's PCI functions as a tree, and writes it in the format of /sys and /proc/cpuinfo for tests.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** A link's speed in GT/s and its width, and the maximum of the function. */
export interface Link {
  speed: number;
  width: number;
  maxSpeed?: number;
  maxWidth?: number;
}

export interface HostFunction {
  /** '01:00.0', in domain 0 unless it has another. */
  at: string;
  vendor: number;
  device: number;
  classCode: number;
  driver?: string;
  /** The device/port type of a PCI Express function, as in the PCI Express Capabilities register. */
  port?: number;
  /** The Access Control Services' control register; undefined: the function has no such capability. */
  acs?: number;
  bars?: { size: number; prefetchable?: boolean }[];
  /** The supported sizes of BAR 1, as the bits of the Resizable BAR capability: bit 0 is 1 MiB. */
  resizable?: number;
  link?: Link;
  group?: number;
  cdev?: string;
  /** The address of the physical function, if this is a virtual function. */
  physical?: string;
  multifunction?: boolean;
  /** The Device Serial Number capability. */
  serial?: bigint;
  /** The Max_Payload_Size that is supported, and the one that is set, as 128 << n. Default: 0. */
  payload?: [supported: number, used: number];
  /** The ATS capability; true: enabled. */
  ats?: boolean;
  /** More files of the function's folder, by name. */
  files?: Record<string, string>;
  behind?: HostFunction[];
}

export interface Host {
  /** The contents of /proc/cpuinfo. */
  cpu: { vendor: string; family: number };
  /** The bus is '0000:00', for example. */
  hostBridges: { bus: string; numaNode?: number; functions: HostFunction[] }[];
  /** The slots' addresses by name: { '7': '0000:03:00' }. */
  slots?: Record<string, string>;
  /** The kernel's command line. */
  cmdline?: string;
  /** The reserved regions of every group; default: the message-signalled interrupts of an x86. */
  reserved?: string;
}

/** PCI Express Base Specification 6.0, 7.5.3.2: device/port type */
export const ports = { endpoint: 0, rootPort: 4, upstream: 5, downstream: 6 } as const;
/** The bits of the ACS control register that Linux sets if there is an IOMMU, and the bits without redirection. */
export const acs = { isolating: 0x1d, plain: 0x11 } as const;

const msi = '0x00000000fee00000 0x00000000feefffff msi\n';

function configSpace({ vendor, device, classCode, port, ...more }: HostFunction): Uint8Array {
  const { acs: control, resizable, behind, serial, ats, payload = [0, 0] } = more;
  const bytes = new Uint8Array(port === undefined ? 256 : 4096);
  const view = new DataView(bytes.buffer);
  view.setUint16(0x00, vendor, true);
  view.setUint16(0x02, device, true);
  view.setUint32(0x08, (classCode << 8) >>> 0, true);
  view.setUint8(0x0e, (behind ? 1 : 0) | (more.multifunction === true ? 0x80 : 0));
  if (port === undefined) return bytes;
  view.setUint16(0x06, 0x10, true);
  view.setUint8(0x34, 0x40);
  view.setUint16(0x40, 0x0010, true);
  view.setUint16(0x42, 2 | (port << 4), true);
  view.setUint32(0x44, payload[0], true);
  view.setUint16(0x48, payload[1] << 5, true);
  const capabilities: ((at: number) => void)[] = [];
  if (control !== undefined) {
    capabilities.push((at) => {
      view.setUint16(at, 0x0d, true);
      view.setUint32(at + 4, 0x5f | (control << 16), true);
    });
  }
  if (resizable !== undefined) {
    capabilities.push((at) => {
      view.setUint16(at, 0x15, true);
      view.setUint32(at + 4, resizable << 4, true);
      view.setUint32(at + 8, 1 | (1 << 5), true);
    });
  }
  if (serial !== undefined) {
    capabilities.push((at) => {
      view.setUint16(at, 0x03, true);
      view.setBigUint64(at + 4, serial, true);
    });
  }
  if (ats !== undefined) {
    capabilities.push((at) => {
      view.setUint16(at, 0x0f, true);
      view.setUint16(at + 6, ats ? 0x8000 : 0, true);
    });
  }
  for (const [i, write] of capabilities.entries()) {
    const at = 0x100 + i * 0x20;
    write(at);
    const next = i + 1 < capabilities.length ? at + 0x20 : 0;
    view.setUint16(at + 2, 1 | (next << 4), true);
  }
  return bytes;
}

const word = (value: number | bigint) => `0x${value.toString(16).padStart(16, '0')}`;
const hex = (value: number, digits: number) => `0x${value.toString(16).padStart(digits, '0')}\n`;

class Writer {
  readonly #sys: string;
  readonly #reserved: string;
  #next = 0x40_0000_0000n;

  constructor(sys: string, reserved: string) {
    this.#sys = sys;
    this.#reserved = reserved;
  }

  #link(target: string, path: string): void {
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(relative(dirname(path), target), path);
  }

  #resource(bars: NonNullable<HostFunction['bars']>): string {
    const lines = Array.from({ length: 7 }, (_, i) => {
      const bar = bars[i];
      if (!bar) return `${word(0)} ${word(0)} ${word(0)}`;
      const size = BigInt(bar.size);
      const start = (this.#next + size - 1n) & -size;
      this.#next = start + size;
      return `${word(start)} ${word(start + size - 1n)} ${word(bar.prefetchable === true ? 0x14220c : 0x40200)}`;
    });
    return `${lines.join('\n')}\n`;
  }

  write(functions: readonly HostFunction[], above: string, numaNode: number): void {
    for (const found of functions) {
      const address = found.at.split(':').length === 2 ? `0000:${found.at}` : found.at;
      const folder = join(above, address);
      mkdirSync(folder, { recursive: true });
      const { link } = found;
      const files: Record<string, string | Uint8Array> = {
        vendor: hex(found.vendor, 4),
        device: hex(found.device, 4),
        class: hex(found.classCode, 6),
        revision: hex(0, 2),
        config: configSpace(found),
        resource: this.#resource(found.bars ?? []),
        numa_node: `${String(numaNode)}\n`,
        ...(link && {
          current_link_speed: `${link.speed.toFixed(1)} GT/s PCIe\n`,
          current_link_width: `${String(link.width)}\n`,
          max_link_speed: `${(link.maxSpeed ?? link.speed).toFixed(1)} GT/s PCIe\n`,
          max_link_width: `${String(link.maxWidth ?? link.width)}\n`,
        }),
        ...found.files,
      };
      for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
      this.#link(folder, join(this.#sys, 'bus/pci/devices', address));
      if (found.driver !== undefined) {
        const driver = join(this.#sys, 'bus/pci/drivers', found.driver);
        mkdirSync(driver, { recursive: true });
        this.#link(driver, join(folder, 'driver'));
      }
      if (found.group !== undefined) {
        const group = join(this.#sys, 'kernel/iommu_groups', String(found.group));
        mkdirSync(group, { recursive: true });
        writeFileSync(join(group, 'reserved_regions'), this.#reserved);
        this.#link(group, join(folder, 'iommu_group'));
        this.#link(folder, join(group, 'devices', address));
      }
      if (found.physical !== undefined) this.#link(join(above, found.physical), join(folder, 'physfn'));
      if (found.cdev !== undefined) mkdirSync(join(folder, 'vfio-dev', found.cdev), { recursive: true });
      this.write(found.behind ?? [], folder, numaNode);
    }
  }
}

/** Writes `sys` and `proc/cpuinfo` into `folder`. Returns the path of its sysfs. */
export function writeHost(folder: string, host: Host): string {
  const { cpu, hostBridges, reserved = msi, slots = {}, cmdline } = host;
  const sys = join(folder, 'sys');
  mkdirSync(join(folder, 'proc'), { recursive: true });
  writeFileSync(
    join(folder, 'proc/cpuinfo'),
    `processor\t: 0\nvendor_id\t: ${cpu.vendor}\ncpu family\t: ${String(cpu.family)}\n`,
  );
  if (cmdline !== undefined) writeFileSync(join(folder, 'proc/cmdline'), `${cmdline}\n`);
  for (const [name, address] of Object.entries(slots)) {
    const slot = join(sys, 'bus/pci/slots', name);
    mkdirSync(slot, { recursive: true });
    writeFileSync(join(slot, 'address'), `${address}\n`);
  }
  const writer = new Writer(sys, reserved);
  for (const { bus, numaNode = -1, functions } of hostBridges) {
    writer.write(functions, join(sys, 'devices', `pci${bus}`), numaNode);
  }
  return sys;
}
