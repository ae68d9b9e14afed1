// A binding that outlives a restart: a udev rule that sets the device's driver_override before udev loads the module of
// its usual driver, and asks the kernel to bind it. driverctl works in the same way.
import { join } from 'node:path';
import { text } from '../kernel/look';
import { rootOf } from './host-root';
import type { VfioDriver } from './vfio-driver';

/** The rule's file. Its name sorts before 80-drivers.rules, which loads modules. */
export function ruleFile(sysfs: string, address: string): string {
  return join(rootOf(sysfs), 'etc/udev/rules.d', `05-vfio-dmabuf-${address}.rules`);
}

const remark = '# Previous driver: ';

/** The driver that the device had when the rule was written; undefined: none, or there is no rule. */
export function driverInRule(sysfs: string, address: string): string | undefined {
  const line = text(ruleFile(sysfs, address))
    .split('\n')
    .find((entry) => entry.startsWith(remark));
  return line?.slice(remark.length).trim();
}

/**
 * Returns the rule. It matches only this kind of device at this address, and it does not unbind a driver that has the
 * device already (from the initramfs): the device may be in use by then.
 */
export function ruleText(
  sysfs: string,
  address: string,
  { driver, module }: VfioDriver,
  previous: string | undefined,
): string {
  const read = (file: string) => text(join(sysfs, 'bus/pci/devices', address, file)).trim();
  const ids = ['vendor', 'device', 'subsystem_vendor', 'subsystem_device']
    .map((file) => [file, read(file)] as const)
    .filter(([, value]) => value !== '')
    .map(([file, value]) => `ATTR{${file}}=="${value}"`);
  const rule = [
    ...['ACTION=="add"', 'SUBSYSTEM=="pci"', `KERNEL=="${address}"`, ...ids],
    `ATTR{driver_override}="${driver}"`,
    `RUN{builtin}+="kmod load ${module}"`,
    `RUN+="/bin/sh -c 'test -e /sys$devpath/driver || echo ${address} > /sys/bus/pci/drivers_probe'"`,
  ];
  return [
    '# Written by `vfio-dmabuf bind --persist`, removed by `vfio-dmabuf unbind`.',
    ...(previous === undefined ? [] : [`${remark}${previous}`]),
    rule.join(', '),
    '',
  ].join('\n');
}
