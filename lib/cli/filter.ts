// Selects devices by address, class and driver, and hides functions of the host itself.
import { Option, type Command } from 'commander';
import { codedError } from '../errors/errors';
import type { PciFunction } from '../pci/function';
import { isBridge, isSystem, shortName } from '../pci/names';
import type { PciTopology } from '../pci/topology';

export interface FilterOptions {
  all?: boolean;
  class?: string[];
  driver?: string[];
}

export function addFilters(command: Command, all: string): Command {
  return command
    .option('-a, --all', all)
    .addOption(
      new Option(
        '--class <class...>',
        'only devices of these classes: hexadecimal (0108), or a word of the name (nvme)',
      ),
    )
    .addOption(new Option('--driver <driver...>', 'only devices with these drivers; "none": without one'));
}

/** Whether it is a pattern for several addresses, and not an address. */
export const isPattern = (address: string): boolean => address.includes('*');

function matchesAddress(pattern: string, address: string): boolean {
  const full = pattern.split(':').length < 3 ? `0000:${pattern}` : pattern;
  const expression = full
    .toLowerCase()
    .split('*')
    .map((part) => part.replaceAll(/[^0-9a-f]/g, '\\$&'))
    .join('.*');
  return new RegExp(`^${expression}$`).test(address);
}

function matchesClass(wanted: string, device: PciFunction): boolean {
  const hex = /^(?:0x)?((?:[0-9a-f]{2}){1,3})$/i.exec(wanted)?.[1]?.toLowerCase();
  if (hex !== undefined && device.classCode.toString(16).padStart(6, '0').startsWith(hex)) return true;
  return shortName(device).toLowerCase().split(' ').includes(wanted.toLowerCase());
}

const matchesDriver = (wanted: string, { driver }: PciFunction): boolean => (driver ?? 'none') === wanted;

const any = <T>(wanted: readonly T[] | undefined, matches: (one: T) => boolean): boolean =>
  wanted === undefined || wanted.length === 0 || wanted.some(matches);

/**
 * Returns the functions that the user wants to see. Without patterns and filters, these are all devices, and not the
 * functions of the host itself. Named addresses are taken whatever they are.
 *
 * @param bridges whether bridges are wanted, too
 * @throws Error ERR_NO_SUCH_DEVICE
 */
export function chooseDevices(
  topology: PciTopology,
  addresses: readonly string[],
  options: FilterOptions,
  bridges = false,
): PciFunction[] {
  const patterns = addresses.filter(isPattern);
  const named = addresses.filter((address) => !isPattern(address)).map((address) => topology.find(address));
  const open = addresses.length === 0 || patterns.length > 0;
  const candidates = open
    ? [...topology.functions.values()].filter(
        (found) =>
          (bridges || !isBridge(found)) &&
          (options.all === true || !isSystem(found)) &&
          any(patterns, (pattern) => matchesAddress(pattern, found.address)),
      )
    : [];
  const chosen = [...new Set([...named, ...candidates])].filter(
    (found) =>
      any(options.class, (wanted) => matchesClass(wanted, found)) &&
      any(options.driver, (wanted) => matchesDriver(wanted, found)),
  );
  if (chosen.length === 0 && (addresses.length > 0 || isFiltered(options))) {
    throw codedError('ERR_NO_SUCH_DEVICE', 'no device matches');
  }
  return chosen;
}

/** Whether the user asked for a part of the devices. */
export const isFiltered = (options: FilterOptions): boolean =>
  (options.class?.length ?? 0) + (options.driver?.length ?? 0) > 0;
