// Records the part of a host's /sys and /proc that the topology depends on, and writes it as files elsewhere.
import { existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export interface RecordedHost {
  /** The text of each file, by path. */
  files: Record<string, string>;
  /** By path: the bytes in hexadecimal up to the last that is not 0, and the size. */
  config: Record<string, { bytes: string; size: number }>;
  /** The target of each link from the root on, by path. */
  links: Record<string, string>;
  folders: string[];
}

const texts = [
  ...['vendor', 'device', 'class', 'revision', 'resource', 'numa_node', 'sriov_totalvfs', 'sriov_numvfs'],
  ...['current_link_speed', 'current_link_width', 'max_link_speed', 'max_link_width'],
];
const links = ['driver', 'iommu_group', 'physfn'];
const devices = '/sys/bus/pci/devices';
const groups = '/sys/kernel/iommu_groups';

/** The lines about the first CPU that the kernel's rules use. */
const cpuinfo = () => /^vendor_id.*\ncpu family.*\n/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[0] ?? '';

/** Records this host. Only root can read all of config space. */
export function recordHost(): RecordedHost {
  const host: RecordedHost = { files: { '/proc/cpuinfo': cpuinfo() }, config: {}, links: {}, folders: [] };
  const link = (path: string) => (host.links[path] = realpathSync(path));
  for (const address of readdirSync(devices)) {
    const folder = link(join(devices, address));
    for (const path of texts.map((name) => join(folder, name)).filter((path) => existsSync(path))) {
      host.files[path] = readFileSync(path, 'utf8');
    }
    const config = readFileSync(join(folder, 'config'));
    const bytes = config.toString('hex').replace(/(?:00)+$/, '');
    host.config[join(folder, 'config')] = { bytes, size: config.length };
    for (const path of links.map((name) => join(folder, name)).filter((path) => existsSync(path))) link(path);
    if (existsSync(join(folder, 'vfio-dev'))) {
      host.folders.push(...readdirSync(join(folder, 'vfio-dev')).map((name) => join(folder, 'vfio-dev', name)));
    }
  }
  for (const group of existsSync(groups) ? readdirSync(groups) : []) {
    const path = join(groups, group, 'reserved_regions');
    host.files[path] = readFileSync(path, 'utf8');
    for (const address of readdirSync(join(groups, group, 'devices'))) link(join(groups, group, 'devices', address));
  }
  return host;
}

/** Writes the host below `folder`. Returns the path of its sysfs. */
export function writeRecorded(folder: string, host: RecordedHost): string {
  const place = (path: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    return join(folder, path);
  };
  for (const path of host.folders) mkdirSync(join(folder, path), { recursive: true });
  for (const [path, content] of Object.entries(host.files)) writeFileSync(place(path), content);
  for (const [path, { bytes, size }] of Object.entries(host.config)) {
    writeFileSync(place(path), Buffer.concat([Buffer.from(bytes, 'hex'), Buffer.alloc(size)], size));
  }
  for (const [path, target] of Object.entries(host.links)) {
    symlinkSync(relative(dirname(join(folder, path)), join(folder, target)), place(path));
  }
  return join(folder, 'sys');
}
