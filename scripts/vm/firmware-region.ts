// Gives the virtual machine's firmware a reserved memory region (RMRR) for a device. QEMU's has none: Linux takes the
// changed DMAR table from an initial RAM disk (CONFIG_ACPI_TABLE_UPGRADE).
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInVm, type VmOptions } from './vm';

/** Within the memory that QEMU's firmware reports as reserved, with 2 GiB. */
const region = { base: 0x7ffd_0000n, limit: 0x7ffd_ffffn };

/** The path of a device behind a root port: the port's device and function, then the device's. */
interface Scope {
  port: number;
  device: number;
}

/** Adds an RMRR structure (Intel VT-d specification, 8.4) to a DMAR table. */
function withRegion(table: Buffer, { port, device }: Scope): Buffer {
  const rmrr = Buffer.alloc(24 + 10);
  rmrr.writeUInt16LE(1, 0); // type: RMRR
  rmrr.writeUInt16LE(rmrr.length, 2);
  rmrr.writeBigUInt64LE(region.base, 8);
  rmrr.writeBigUInt64LE(region.limit, 16);
  rmrr.set([1, 10, 0, 0, 0, 0, port, 0, device, 0], 24); // an endpoint, from bus 0 on
  const whole = Buffer.concat([table, rmrr]);
  whole.writeUInt32LE(whole.length, 4);
  whole.writeUInt32LE(whole.readUInt32LE(24) + 1, 24); // a newer OEM revision replaces the firmware's table
  whole.writeUInt8(0, 9);
  whole.writeUInt8(-whole.reduce((sum, byte) => sum + byte, 0) & 0xff, 9);
  return whole;
}

/** One entry of a cpio archive in the format 'newc'. */
function entry(name: string, content: Buffer, mode: number): Buffer {
  const hex = (value: number) => value.toString(16).padStart(8, '0');
  const fields = [1, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const header = `070701${fields.map(hex).join('')}${name}\0`;
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  return Buffer.concat([padded(Buffer.from(header, 'latin1')), padded(content)]);
}

/**
 * Boots the machine once for its DMAR table. Returns the QEMU arguments that give the device a firmware region.
 *
 * @param shared a folder that the guest may write to
 */
export async function firmwareRegion(
  options: Pick<VmOptions, 'machine'>,
  shared: string,
  scope: Scope,
): Promise<string[]> {
  const dump = join(shared, 'dmar');
  const command = ['cp', '/sys/firmware/acpi/tables/DMAR', dump];
  const status = await runInVm({ ...options, vfio: [], command, shared, timeout: 600 });
  if (status !== 0) throw new Error('the virtual machine has no DMAR table');
  const archive = join(shared, 'firmware.cpio');
  const folders = ['kernel', 'kernel/firmware', 'kernel/firmware/acpi'].map((name) =>
    entry(name, Buffer.alloc(0), 0o40755),
  );
  const table = withRegion(readFileSync(dump), scope);
  const parts = [
    ...folders,
    entry('kernel/firmware/acpi/dmar.aml', table, 0o100644),
    entry('TRAILER!!!', Buffer.alloc(0), 0),
  ];
  writeFileSync(archive, Buffer.concat(parts));
  return ['-initrd', archive];
}
