// Records a host's PCI functions and what matters about its kernel as one JSON document, which every command takes as
// another host. It has no serial numbers unless they are asked for, and no names of the host, of users or of files.
import { existsSync, readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { boolean, options, string } from '../errors/validate';
import { defaultKernel } from '../kernel/default-kernel';
import { attempt, linked, list, text } from '../kernel/look';
import type { RecordedHost } from '../kernel/recorded';
import { kernelRelease, procOf, rootOf } from '../pci/host-root';

export type { RecordedHost };

/** Options of {@link recordHost}. */
export interface RecordOptions {
  /** The path of sysfs. Default: that of the default kernel, which is /sys for the system's. */
  sysfs?: string;
  /** Whether to record serial numbers: of PCI Express functions and NVMe drives. Default: false. */
  serials?: boolean;
}

/** Files of a function, as far as it has them. */
const texts = [
  ...['vendor', 'device', 'subsystem_vendor', 'subsystem_device', 'class', 'revision', 'modalias', 'resource'],
  ...[
    'numa_node',
    'sriov_totalvfs',
    'sriov_numvfs',
    'boot_vga',
    'power_state',
    'driver_override',
    'label',
    'acpi_index',
  ],
  ...['current_link_speed', 'current_link_width', 'max_link_speed', 'max_link_width', 'reset_method', 'ari_enabled'],
  ...['d3cold_allowed', 'enable', 'dma_mask_bits', ...[0, 1, 2, 3, 4, 5].map((bar) => `resource${String(bar)}_resize`)],
];
/** The modules of VFIO drivers. */
const vfioModules = 'module/vfio_pci_core/holders';
const functionLinks = ['driver', 'iommu_group', 'physfn'];
const serialNumber = 0x0003; // PCI Express: Device Serial Number
const firstExtended = 0x100;

/** Overwrites the serial number in a function's config space. */
function withoutSerial(config: Buffer): Buffer {
  const bytes = Buffer.from(config);
  const seen = new Set<number>();
  for (let at = firstExtended; at >= firstExtended && at + 12 <= bytes.length && !seen.has(at);) {
    seen.add(at);
    const header = bytes.readUInt32LE(at);
    if ((header & 0xffff) === serialNumber) bytes.fill(0, at + 4, at + 12);
    at = header >>> 20;
  }
  return bytes;
}

class Recorder {
  readonly host: RecordedHost = { files: {}, config: {}, links: {}, folders: [] };
  readonly #sysfs: string;
  readonly #root: string;
  readonly #proc: string;
  readonly #serials: boolean;
  readonly #aliases = new Map<string, string>();

  constructor(sysfs: string, serials: boolean) {
    this.#sysfs = attempt(() => realpathSync(sysfs)) ?? sysfs;
    this.#root = rootOf(sysfs);
    this.#proc = procOf(sysfs);
    this.#serials = serials;
  }

  /** The path from the host's root on. Interface names can have the hardware address, which is a serial number. */
  #inside(path: string): string {
    const whole = this.#fromRoot(path);
    return this.#serials ? whole : whole.replaceAll(/\benx[0-9a-f]{12}\b/g, (name) => this.#alias(name));
  }

  #alias(name: string): string {
    const known = this.#aliases.get(name) ?? `enx${String(this.#aliases.size).padStart(12, '0')}`;
    this.#aliases.set(name, known);
    return known;
  }

  #fromRoot(path: string): string {
    if (path.startsWith(`${this.#proc}/`)) return `/proc${path.slice(this.#proc.length)}`;
    if (path.startsWith(`${this.#sysfs}/`)) return `/sys${path.slice(this.#sysfs.length)}`;
    return this.#root === '/' ? path : path.slice(this.#root.length);
  }

  #file(path: string, content = attempt(() => readFileSync(path, 'utf8'))): void {
    if (content !== undefined) this.host.files[this.#inside(path)] = content;
  }

  #folder(path: string): void {
    this.host.folders.push(this.#inside(path));
  }

  /** Records a link, if it leads to somewhere in sysfs. Returns the path it leads to. */
  #link(path: string): string | undefined {
    // A copy can have links to what it lacks.
    const lexical = () => attempt(() => resolve(realpathSync(dirname(path)), readlinkSync(path)));
    const target = attempt(() => realpathSync(path)) ?? lexical();
    if (!target?.startsWith(`${this.#sysfs}/`)) return undefined;
    if (target !== path) this.host.links[this.#inside(path)] = this.#inside(target);
    return target;
  }

  all(): RecordedHost {
    this.#kernel();
    for (const address of list(join(this.#sysfs, 'bus/pci/devices')))
      this.#function(join(this.#sysfs, 'bus/pci/devices', address));
    this.#drivers();
    this.#groups();
    for (const name of ['block', 'net']) this.#class(name);
    const slots = join(this.#sysfs, 'bus/pci/slots');
    for (const slot of list(slots)) this.#file(join(slots, slot, 'address'));
    return this.host;
  }

  #kernel(): void {
    const release = kernelRelease(this.#sysfs);
    if (release !== undefined) this.host.files['/proc/sys/kernel/osrelease'] = `${release}\n`;
    // The lines about the first CPU that the rules depend on.
    const cpu = text(join(this.#proc, 'cpuinfo'));
    const lines = ['vendor_id', 'cpu family', 'model', 'model name'].map(
      (name) => new RegExp(`^${name}\\s*:.*\\n`, 'm').exec(cpu)?.[0] ?? '',
    );
    this.host.files['/proc/cpuinfo'] = lines.join('');
    // Only what concerns PCI, IOMMUs and VFIO: the rest can name disks and machines.
    const words = text(join(this.#proc, 'cmdline')).split(/\s+/);
    const kept = words.filter((word) => /iommu|^pci|vfio|intremap|initcall_blacklist|^video=|acs|efi=/.test(word));
    this.host.files['/proc/cmdline'] = `${kept.join(' ')}\n`;
    const iomem = text(join(this.#proc, 'iomem'))
      .split('\n')
      .filter((line) => !line.includes(' : Kernel '));
    if (iomem.length > 1) this.host.files['/proc/iomem'] = iomem.join('\n');
    for (const folder of ['firmware/acpi/tables', 'class/iommu', 'class/misc', 'class/vfio', 'module', vfioModules])
      for (const name of list(join(this.#sysfs, folder))) this.#name(folder, name);
    const aliases = text(join(this.#root, 'lib/modules', release ?? '', 'modules.alias'));
    const own = aliases.split('\n').filter((line) => line.startsWith('alias vfio_pci:'));
    if (own.length > 0) this.host.files[`/lib/modules/${release ?? ''}/modules.alias`] = `${own.join('\n')}\n`;
  }

  /** Records that a folder has an entry of this name. */
  #name(folder: string, name: string): void {
    const path = join(this.#sysfs, folder, name);
    const isFile = folder.startsWith('firmware') && attempt(() => statSync(path).isFile());
    if (isFile) this.host.files[this.#inside(path)] = '';
    else if (folder.startsWith('module') || linked(path) === undefined) this.#folder(path);
    else this.#node(path);
  }

  /** Records an entry of a class with its device number. */
  #node(path: string): void {
    const target = this.#link(path);
    if (target === undefined) return;
    this.#folder(target);
    this.#file(join(target, 'dev'));
  }

  #function(link: string): void {
    const folder = this.#link(link);
    if (folder === undefined) return;
    for (const name of texts) if (existsSync(join(folder, name))) this.#file(join(folder, name));
    const config = attempt(() => readFileSync(join(folder, 'config')));
    if (config) {
      const bytes = (this.#serials ? config : withoutSerial(config)).toString('hex').replace(/(?:00)+$/, '');
      this.host.config[this.#inside(join(folder, 'config'))] = { bytes, size: config.length };
    }
    for (const name of [...functionLinks, ...list(folder).filter((entry) => /^virtfn\d+$/.test(entry))])
      this.#link(join(folder, name));
    for (const name of list(join(folder, 'vfio-dev'))) {
      this.#folder(join(folder, 'vfio-dev', name));
      this.#file(join(folder, 'vfio-dev', name, 'dev'));
    }
    for (const name of this.#serials ? list(join(folder, 'nvme')) : [])
      this.#file(join(folder, 'nvme', name, 'serial'));
  }

  #drivers(): void {
    const drivers = join(this.#sysfs, 'bus/pci/drivers');
    for (const name of list(drivers)) {
      this.#folder(join(drivers, name));
      this.#link(join(drivers, name, 'module'));
    }
  }

  #groups(): void {
    const groups = join(this.#sysfs, 'kernel/iommu_groups');
    for (const group of list(groups)) {
      this.#file(join(groups, group, 'reserved_regions'));
      for (const name of list(join(groups, group, 'devices'))) this.#link(join(groups, group, 'devices', name));
    }
  }

  /** Records disks or network interfaces of PCI functions, and what is on top of them. */
  #class(name: string): void {
    const all = join(this.#sysfs, 'class', name);
    const mounts = text(join(this.#proc, 'self/mountinfo')).split('\n');
    const kept: string[] = [];
    for (const entry of list(all)) {
      const target = attempt(() => realpathSync(join(all, entry)));
      if (target === undefined || (name === 'net' && !/\/pci[0-9a-f]+:/.test(target))) continue;
      this.#link(join(all, entry));
      this.#folder(target);
      for (const file of ['dev', 'flags', 'partition'])
        if (existsSync(join(target, file))) this.#file(join(target, file));
      for (const holder of list(join(target, 'holders'))) this.#folder(join(target, 'holders', holder));
      const number = text(join(target, 'dev')).trim();
      if (mounts.some((line) => number !== '' && line.split(' ')[2] === number))
        kept.push(`1 1 ${number} / /(mounted) rw - fs dev rw`);
    }
    if (name === 'block') this.host.files['/proc/self/mountinfo'] = `${kept.join('\n')}\n`;
  }
}

/** Records a host. Only root can read all of config space and the addresses of /proc/iomem. */
export function recordHost(opts?: RecordOptions): RecordedHost {
  const { sysfs = defaultKernel().sysfs, serials = false } = options(opts, ['sysfs', 'serials']);
  return new Recorder(string(sysfs, 'sysfs'), boolean(serials, 'serials')).all();
}
