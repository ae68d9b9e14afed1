// The bridges in a fake machine's sysfs: QEMU's q35 host bridge and its PCI Express root ports. Linux enables
// redirection in their Access Control Services if the machine has an IOMMU.
import { deviceKinds } from './devices';
import { bridgeAddress, type Machine } from './machine';
import type { SysfsDevice } from './sysfs';

/** The PCI Express capability of a root port (PCI Express 6.0, 7.5.3). */
const express = { offset: 0x54, bytes: '10484201008000000f00000004063000000011007b000200' };
/**
 * Access Control Services (7.7.11). The port supports all except egress control and direct translation; those that
 * isolate devices are enabled.
 */
const accessControl = { offset: 0x100, bytes: '0d0001005f001d00' };

function configSpace(size: number, vendor: number, device: number, classCode: number): Buffer {
  const bytes = Buffer.alloc(size);
  bytes.writeUInt16LE(vendor, 0x00);
  bytes.writeUInt16LE(device, 0x02);
  bytes.writeUInt32LE((classCode << 8) >>> 0, 0x08);
  return bytes;
}

const nothing = `${Array.from({ length: 3 }, () => `0x${'0'.repeat(16)}`).join(' ')}\n`.repeat(13);

const ofEvery = {
  parent: undefined,
  revision: 0,
  resource: nothing,
  virtualFunctions: 0,
  cdev: undefined,
  hasFile: false,
};

const fast = { speed: 16, width: 32 };
/** The link speed when a PCI Express device is connected, as with QEMU's devices. */
const slow = { speed: 2.5, width: 1 };

/** `group`: the IOMMU group of the host bridge. Port i has group 2i. */
export function bridges(machine: Machine, reserved: string, group: number): SysfsDevice[] {
  const host = { vendor: 0x8086, device: 0x29c0, classCode: 0x060000 };
  const port = { vendor: 0x1b36, device: 0x000c, classCode: 0x060400 };
  const hostConfig = configSpace(256, host.vendor, host.device, host.classCode);
  const portConfig = configSpace(4096, port.vendor, port.device, port.classCode);
  portConfig.writeUInt16LE(0x0010, 0x06);
  portConfig.writeUInt8(1, 0x0e);
  portConfig.writeUInt8(express.offset, 0x34);
  for (const { offset, bytes } of [express, accessControl]) portConfig.write(bytes, offset, 'hex');
  return [
    { ...ofEvery, ...host, address: '0000:00:00.0', config: hostConfig, reserved, group, driver: undefined },
    ...machine.ports.map(({ kind }, i) => ({
      ...{ ...ofEvery, ...port, address: bridgeAddress(i), config: portConfig, reserved, group: 2 * i },
      ...{ driver: 'pcieport', link: { ...(deviceKinds[kind].express ? slow : fast), maxSpeed: 16, maxWidth: 32 } },
    })),
  ];
}
