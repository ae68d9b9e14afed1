// Builds the tree of PCI functions from the folders in sysfs. What is missing there gets a placeholder with a gap, so
// that the functions below keep their place.
import { readlinkSync, realpathSync, statfsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { attempt, list, text } from '../kernel/look';
import { readFunction, shownFunction, unseenFunction, type LoneFunction, type PciFunction } from './function';
import type { PciGap } from './gap';

const hostBridgeName = /^pci[0-9a-f]{4,}:[0-9a-f]{2}$/;
const functionName = /^[0-9a-f]{4,}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;
/** statfs(2): linux/magic.h */
const sysfsMagic = 0x62656572;

/** The functions of a host. @internal */
export interface PciTree {
  /** The functions that were seen, by address, ascending. */
  functions: ReadonlyMap<string, PciFunction>;
  /** The functions on each root bus, with placeholders, by the host bridge's name. */
  hostBridges: ReadonlyMap<string, readonly PciFunction[]>;
  /** Placeholders, by address: functions of which sysfs has only the name. */
  unseen: ReadonlyMap<string, PciFunction>;
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
type Placed = Mutable<LoneFunction> & {
  hostBridge: string;
  parent: Placed | undefined;
  children: Placed[];
  slot: string | undefined;
};

/** The host bridge of functions whose place is not known. */
const nowhere = 'unknown';

const placeGap: PciGap = {
  what: 'place',
  text:
    'the bridges above it are not known: its entry in bus/pci/devices is not the link through all bridges that sysfs ' +
    'has there (copy with links, for example with cp -a or tar)',
  root: false,
};

/** The bus in an address or a host bridge's name: '0000:13' of '0000:13:00.0' and of 'pci0000:13'. */
const busOf = (name: string): string => name.replace(/^pci/, '').split(':').slice(0, 2).join(':');

/** A function on a root bus has the bus number of the host bridge. Virtual functions can be on buses of their own. */
function skipsBridges({ hostBridge, addresses }: Way, { address, physicalFunction }: LoneFunction): boolean {
  return addresses.length === 1 && physicalFunction === undefined && busOf(address) !== busOf(hostBridge);
}

interface Way {
  hostBridge: string;
  /** The addresses from the root bus to the function itself. */
  addresses: string[];
  /** The path of the host bridge's folder; undefined: not in sysfs. */
  folder: string | undefined;
}

/**
 * Returns the path from the host bridge to the function, by the target of its link. The target may be missing. Returns
 * undefined if the entry is not such a link.
 */
function wayTo(entry: string, address: string): Way | undefined {
  const target = attempt(() => realpathSync.native(entry)) ?? attempt(() => resolve(entry, '..', readlinkSync(entry)));
  const names = target?.split('/') ?? [];
  // A bridge that creates its own PCI domain (VMD) has a host bridge below it, so the last host bridge is used.
  const at = names.lastIndexOf(names.filter((name) => hostBridgeName.test(name)).at(-1) ?? '');
  const addresses = names.slice(at + 1);
  if (at < 0 || addresses.at(-1) !== address || !addresses.every((name) => functionName.test(name))) return undefined;
  return { hostBridge: names[at] ?? '', addresses, folder: names.slice(0, at + 1).join('/') };
}

/** Returns the slot's name by the address of a device without its function: '0000:03:00'. */
function slotNames(sysfs: string): ReadonlyMap<string, string> {
  const folder = join(sysfs, 'bus/pci/slots');
  return new Map(list(folder).map((name) => [text(join(folder, name, 'address')).trim(), name]));
}

/** The bits of the PCI Express capability (PCI Express Base 6.0, 7.5.3.2 and 7.5.3.9). */
const slotImplemented = 0x100;

/** Returns the slot number that the port above reports. */
function slotNumber(port: LoneFunction | undefined): string | undefined {
  const express = port?.capabilities.find(({ type }) => type === 'express');
  if (!express || express.bytes.length < 0x18) return undefined;
  const view = new DataView(express.bytes.buffer, express.bytes.byteOffset, express.bytes.byteLength);
  if ((view.getUint16(2, true) & slotImplemented) === 0) return undefined;
  const slot = view.getUint32(0x14, true) >>> 19;
  return slot === 0 ? undefined : String(slot);
}

class Builder {
  readonly #functions = new Map<string, Placed>();
  readonly #unseen = new Map<string, Placed>();
  readonly #ways: [Placed, Way | undefined][] = [];
  readonly #rootFolders = new Map<string, string>();

  add(found: LoneFunction, told: Way | undefined): void {
    const way = told && skipsBridges(told, found) ? undefined : told;
    const gaps = way ? found.gaps : [placeGap, ...found.gaps];
    const hostBridge = way?.hostBridge ?? nowhere;
    const placed: Placed = shownFunction({
      ...found,
      ...{ gaps, hostBridge, parent: undefined, children: [], slot: undefined },
    });
    if (!way) placed.acs = { state: 'unreadable' };
    const seen = !gaps.some(({ what }) => what === 'function');
    (seen ? this.#functions : this.#unseen).set(found.address, placed);
    this.#ways.push([placed, way]);
    if (way?.folder !== undefined) this.#rootFolders.set(hostBridge, way.folder);
  }

  #find(address: string): Placed | undefined {
    return this.#functions.get(address) ?? this.#unseen.get(address);
  }

  /** Adds placeholders for the bridges of each path, and for the functions on root buses, that were not seen. */
  addMissing(): void {
    const reason = (where: string) => `it is not in bus/pci/devices, but ${where}`;
    for (const [{ address }, way] of [...this.#ways]) {
      for (const [i, name] of (way?.addresses ?? []).entries()) {
        if (!way || this.#find(name)) continue;
        const own = { ...way, addresses: way.addresses.slice(0, i + 1) };
        this.add(unseenFunction(name, reason(`${address} is below it`)), own);
      }
    }
    for (const [hostBridge, folder] of this.#rootFolders) {
      for (const name of list(folder)) {
        if (!functionName.test(name) || this.#find(name)) continue;
        this.add(unseenFunction(name, reason(`its folder is in ${hostBridge}`)), {
          hostBridge,
          addresses: [name],
          folder,
        });
      }
    }
  }

  /** Connects the functions. */
  build(slots: ReadonlyMap<string, string>): PciTree {
    const ascending = [...this.#ways].sort(([a], [b]) => (a.address < b.address ? -1 : 1));
    const hostBridges = new Map<string, Placed[]>();
    for (const [placed, way] of ascending) {
      const above = way?.addresses.at(-2);
      placed.parent = above === undefined ? undefined : this.#find(above);
      if (placed.parent) placed.parent.children.push(placed);
      else hostBridges.set(placed.hostBridge, [...(hostBridges.get(placed.hostBridge) ?? []), placed]);
    }
    for (const [placed] of ascending) {
      placed.slot = slots.get(placed.address.replace(/\.[0-7]$/, '')) ?? slotNumber(placed.parent);
      const physical = placed.physicalFunction === undefined ? undefined : this.#find(placed.physicalFunction);
      // A virtual function's own link registers are zeros.
      if (physical) placed.link = physical.link;
    }
    return { functions: this.#functions, hostBridges, unseen: this.#unseen };
  }
}

/** Reads all functions in a host's sysfs, and builds their tree. @internal */
export function readTree(sysfs: string): PciTree {
  const devices = join(sysfs, 'bus/pci/devices');
  const live = attempt(() => statfsSync(devices).type) === sysfsMagic;
  const builder = new Builder();
  for (const address of list(devices).sort()) {
    const entry = join(devices, address);
    const found = readFunction(entry, address, live);
    // A device that disappears while it is read leaves no link.
    if (!found && live && attempt(() => readlinkSync(entry)) === undefined) continue;
    const reason =
      attempt(() => realpathSync.native(entry)) === undefined ? 'its folder is missing' : 'its folder has no vendor ID';
    builder.add(found ?? unseenFunction(basename(address), `nothing of it was seen: ${reason}`), wayTo(entry, address));
  }
  builder.addMissing();
  return builder.build(slotNames(sysfs));
}
