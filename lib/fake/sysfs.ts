// Writes a fake machine's sysfs: the part of /sys that describes PCI devices. Native code owns the folder
// (native/fake/sysfs_folder.h) and removes it even if JavaScript can no longer run.
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** The content of a device's folder. */
export interface SysfsDevice {
  address: string;
  /** The address of the parent bridge, if any. */
  parent: string | undefined;
  vendor: number;
  device: number;
  classCode: number;
  revision: number;
  config: Uint8Array;
  /** The content of the kernel's `resource` file: one line per resource. */
  resource: string;
  group: number;
  /** The content of the kernel's `reserved_regions` file: IOVAs that no device of the group can map. */
  reserved: string;
  driver: string | undefined;
  /** The upstream link of a PCI Express function, in GT/s and lanes. */
  link?: { speed: number; width: number; maxSpeed: number; maxWidth: number } | undefined;
  /** The address of the physical function, if this is a virtual function. */
  physical?: string | undefined;
  /** The number of virtual functions. */
  virtualFunctions: number;
  /** The VFIO character device, for example 'vfio0', if the device is bound to VFIO. */
  cdev: string | undefined;
  /** Whether the character device exists in /dev, as on kernels with IOMMUFD. */
  hasFile: boolean;
}

/** Intel's capability registers. */
export interface SysfsIommu {
  capability: bigint;
  extendedCapability: bigint;
}

/** Creates a relative symbolic link at `path`, like the kernel's links. */
export function link(target: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  symlinkSync(relative(dirname(path), target), path);
}

function hex(value: number, digits: number): string {
  return `0x${value.toString(16).padStart(digits, '0')}\n`;
}

/** The path of the IOMMU's folder, below the root. */
const iommuFolder = 'devices/virtual/iommu/dmar0';

/** Writes the Intel IOMMU, whose registers programs read to know the width of IOVAs. */
function writeIommu(root: string, { capability, extendedCapability }: SysfsIommu): void {
  const registers = join(root, iommuFolder, 'intel-iommu');
  mkdirSync(registers, { recursive: true });
  const files = {
    address: 'fed90000\n',
    cap: `${capability.toString(16)}\n`,
    ecap: `${extendedCapability.toString(16)}\n`,
    version: '1:0\n',
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(registers, name), content);
  link(join(root, iommuFolder), join(root, 'class/iommu/dmar0'));
}

/** The names by which programs find a device's driver, from its config space. */
function identify({ vendor, device, classCode, config, driver, address }: SysfsDevice): Record<string, string> {
  const bridge = 1; // the header's type; a bridge has its subsystem in a capability, if at all
  const read = (offset: number) =>
    config[0x0e] === bridge ? 0 : (config[offset] ?? 0) | ((config[offset + 1] ?? 0) << 8);
  const [subVendor, subDevice] = [read(0x2c), read(0x2e)];
  const upper = (value: number, digits: number) => value.toString(16).toUpperCase().padStart(digits, '0');
  const [base, sub, programming] = [classCode >> 16, (classCode >> 8) & 0xff, classCode & 0xff];
  const modalias =
    `pci:v${upper(vendor, 8)}d${upper(device, 8)}sv${upper(subVendor, 8)}sd${upper(subDevice, 8)}` +
    `bc${upper(base, 2)}sc${upper(sub, 2)}i${upper(programming, 2)}`;
  const events = [
    ...(driver === undefined ? [] : [`DRIVER=${driver}`]),
    `PCI_CLASS=${classCode.toString(16).toUpperCase()}`,
    `PCI_ID=${upper(vendor, 4)}:${upper(device, 4)}`,
    `PCI_SUBSYS_ID=${upper(subVendor, 4)}:${upper(subDevice, 4)}`,
    `PCI_SLOT_NAME=${address}`,
    `MODALIAS=${modalias}`,
  ];
  return {
    subsystem_vendor: hex(subVendor, 4),
    subsystem_device: hex(subDevice, 4),
    modalias: `${modalias}\n`,
    uevent: `${events.join('\n')}\n`,
  };
}

const legacyInterrupt = 11; // the line of QEMU's PCI devices

function writeDevice(root: string, device: SysfsDevice): void {
  const parent = device.parent === undefined ? [] : [device.parent];
  const folder = join(root, 'devices/pci0000:00', ...parent, device.address);
  mkdirSync(folder, { recursive: true });
  const files: Record<string, string | Uint8Array> = {
    vendor: hex(device.vendor, 4),
    device: hex(device.device, 4),
    class: hex(device.classCode, 6),
    revision: hex(device.revision, 2),
    ...identify(device),
    irq: `${String(device.config[0x3d] ? legacyInterrupt : 0)}\n`,
    enable: `${device.driver === 'pcieport' ? '1' : '0'}\n`,
    config: device.config,
    resource: device.resource,
    numa_node: '-1\n',
    ...(device.link && {
      current_link_speed: `${device.link.speed.toFixed(1)} GT/s PCIe\n`,
      current_link_width: `${String(device.link.width)}\n`,
      max_link_speed: `${device.link.maxSpeed.toFixed(1)} GT/s PCIe\n`,
      max_link_width: `${String(device.link.maxWidth)}\n`,
    }),
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  link(folder, join(root, 'bus/pci/devices', device.address));
  if (device.virtualFunctions > 0) {
    for (const name of ['sriov_totalvfs', 'sriov_numvfs']) {
      writeFileSync(join(folder, name), `${String(device.virtualFunctions)}\n`);
    }
  }
  if (device.physical !== undefined) {
    const physical = join(dirname(folder), device.physical);
    link(physical, join(folder, 'physfn'));
    link(folder, join(physical, `virtfn${String(Number(device.address.at(-1)) - 1)}`));
  }

  if (device.driver !== undefined) {
    const driver = join(root, 'bus/pci/drivers', device.driver);
    mkdirSync(driver, { recursive: true });
    link(driver, join(folder, 'driver'));
    link(folder, join(driver, device.address));
  }

  const group = join(root, 'kernel/iommu_groups', String(device.group));
  mkdirSync(group, { recursive: true });
  writeFileSync(join(group, 'reserved_regions'), device.reserved);
  link(group, join(folder, 'iommu_group'));
  link(join(root, iommuFolder), join(folder, 'iommu'));
  link(folder, join(group, 'devices', device.address));

  if (device.cdev === undefined) return;
  writeCdev(root, folder, device.cdev, device.hasFile);
  writeGroupFile(root, device.group);
}

/** The major and minor numbers of character devices, the same as in native/fake/device_numbers.h. */
const majors = { misc: 10, dmaHeap: 509, group: 510, cdev: 511 } as const;
const minors = { vfio: 196, iommu: 257, udmabuf: 258, systemHeap: 0 } as const;

/** Writes the device number to the device's folder, and the link from the number to the folder. */
function writeNumber(root: string, folder: string, major: number, minor: number): void {
  const number = `${String(major)}:${String(minor)}`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'dev'), `${number}\n`);
  link(folder, join(root, 'dev/char', number));
}

/** Writes the VFIO character device of the device with this folder. `hasFile`: whether it exists in /dev. */
export function writeCdev(root: string, folder: string, name: string, hasFile = true): void {
  const cdev = join(folder, 'vfio-dev', name);
  mkdirSync(cdev, { recursive: true });
  if (hasFile) writeNumber(root, cdev, majors.cdev, Number(name.replace('vfio', '')));
  link(cdev, join(root, 'class/vfio-dev', name));
}

/** Writes the group file of an IOMMU group whose devices are all bound to VFIO. */
export function writeGroupFile(root: string, group: number): void {
  const folder = join(root, 'devices/virtual/vfio', String(group));
  if (existsSync(folder)) return; // written for another device of the group
  writeNumber(root, folder, majors.group, group);
  link(folder, join(root, 'class/vfio', String(group)));
}

/**
 * Writes what every machine has: the exporters of host memory (native/fake/host_dma_buf.cc), VFIO's container, and
 * IOMMUFD.
 */
export function writeHostFiles(root: string, iommufd: boolean): void {
  const files: [className: string, name: string, major: number, minor: number][] = [
    ['misc', 'udmabuf', majors.misc, minors.udmabuf],
    ['misc', 'vfio', majors.misc, minors.vfio],
    ['dma_heap', 'system', majors.dmaHeap, minors.systemHeap],
    ...(iommufd ? [['misc', 'iommu', majors.misc, minors.iommu] as [string, string, number, number]] : []),
  ];
  for (const [className, name, major, minor] of files) {
    const folder = join(root, 'devices/virtual', className, name);
    writeNumber(root, folder, major, minor);
    link(folder, join(root, 'class', className, name));
  }
  for (const module of ['vfio', 'vfio_iommu_type1', 'vfio_pci']) {
    mkdirSync(join(root, 'module', module), { recursive: true });
    writeFileSync(join(root, 'module', module, 'initstate'), 'live\n');
  }
  mkdirSync(join(root, 'module/vfio/parameters'), { recursive: true });
  writeFileSync(join(root, 'module/vfio/parameters/enable_unsafe_noiommu_mode'), 'N\n');
  mkdirSync(join(root, 'module/udmabuf/parameters'), { recursive: true });
  const parameters = { list_limit: 1024, size_limit_mb: 0x7fff_ffff };
  for (const [name, value] of Object.entries(parameters)) {
    writeFileSync(join(root, 'module/udmabuf/parameters', name), `${String(value)}\n`);
  }
}

/** Writes /proc/cpuinfo, which the topology reads in addition to sysfs. */
function writeCpu(root: string, { vendor, family }: { vendor: string; family: number }): void {
  const proc = join(root, '../proc');
  mkdirSync(proc);
  const fields = `vendor_id\t: ${vendor}\ncpu family\t: ${String(family)}\n`;
  writeFileSync(join(proc, 'cpuinfo'), `processor\t: 0\n${fields}`);
}

/** Writes the tree to `root`, which serves as /sys, and the CPU's description next to it. */
export function writeSysfs(
  root: string,
  devices: readonly SysfsDevice[],
  cpu: { vendor: string; family: number },
  iommufd: boolean,
  iommu: SysfsIommu,
): void {
  mkdirSync(root, { recursive: true });
  writeCpu(root, cpu);
  writeIommu(root, iommu);
  for (const device of devices) writeDevice(root, device);
  writeHostFiles(root, iommufd);
}
