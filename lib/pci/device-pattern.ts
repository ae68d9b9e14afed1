// The kernel's way to name PCI devices on its command line (pci_dev_str_match() of drivers/pci/pci.c): by address, by a
// path that renumbered buses do not change, or by IDs.
import type { PciFunction } from './function';

const hex = '(?:0x)?[0-9a-f]+';
const pathPattern = new RegExp(`^(?:(${hex}):)?(${hex}):(${hex})\\.(${hex})((?:/${hex}\\.${hex})*)$`, 'i');
const idPattern = new RegExp(`^pci:(${hex}):(${hex})(?::(${hex}):(${hex}))?$`, 'i');

const number = (text: string | undefined): number => (text === undefined ? 0 : parseInt(text, 16));
const deviceOf = (address: string): string => address.slice(address.lastIndexOf(':') + 1);
const hexWord = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/**
 * Returns a function's path: the address of the root port, and the device and function numbers below it, for example
 * '0000:10:01.0/00.0/02.0'. @internal
 */
export function pathOf(self: PciFunction): string {
  return self.parent ? `${pathOf(self.parent)}/${deviceOf(self.address)}` : self.address;
}

/** Returns whether a function matches; undefined: the pattern is malformed. @internal */
export function toMatcher(pattern: string): ((self: PciFunction) => boolean) | undefined {
  const ids = idPattern.exec(pattern);
  if (ids) {
    const [vendor, device] = [number(ids[1]), number(ids[2])];
    // The subsystem's IDs are not in this library's topology; 0 matches any.
    return (self) => (vendor === 0 || vendor === self.vendor) && (device === 0 || device === self.device);
  }
  const path = pathPattern.exec(pattern);
  if (!path) return undefined;
  const [, domain, bus, device, functionNumber, below = ''] = path;
  const steps = below.split('/').slice(1);
  const at = (name: string | undefined, of: string | undefined) => `${hexWord(number(name), 2)}.${String(number(of))}`;
  const first = `${hexWord(number(domain), 4)}:${hexWord(number(bus), 2)}:${at(device, functionNumber)}`;
  return (self) => {
    let found: PciFunction | undefined = self;
    for (const step of [...steps].reverse()) {
      if (!found || deviceOf(found.address) !== at(...(step.split('.') as [string, string]))) return false;
      found = found.parent;
    }
    return found?.address === first;
  };
}
