// What slows a set of devices down, or decides what they can do, beside the verdicts on their paths.
import { native } from '../addon/native';
import type { PciFunction } from './function';
import { slowLinkText } from './p2p-advice';
import { linkAbove, slowLink } from './uplink';

/** A remark on devices. */
export interface P2pNote {
  kind: 'shared-link' | 'numa' | 'slow-link' | 'payload' | 'ats' | 'bar';
  devices: PciFunction[];
  text: string;
}

const names = (devices: readonly PciFunction[]): string => devices.map(({ address }) => address).join(', ');
const chainOf = (self: PciFunction): PciFunction[] => [self, ...(self.parent ? chainOf(self.parent) : [])];

function grouped<Key>(devices: readonly PciFunction[], keyOf: (device: PciFunction) => Key): Map<Key, PciFunction[]> {
  const found = new Map<Key, PciFunction[]>();
  for (const device of devices) found.set(keyOf(device), [...(found.get(keyOf(device)) ?? []), device]);
  return found;
}

/** The links that several devices share for DMA that goes up to the host bridge. */
function* sharedLinks(indirect: readonly { from: PciFunction; to: PciFunction }[]): Generator<P2pNote> {
  const users = new Map<PciFunction, Set<PciFunction>>();
  for (const { from, to } of indirect) {
    for (const end of [from, to]) {
      for (const hop of chainOf(end)) users.set(hop, (users.get(hop) ?? new Set()).add(end));
    }
  }
  for (const [hop, ends] of users) {
    const link = linkAbove(hop);
    if (!link || ends.size < 2) continue;
    const text =
      `${names([...ends])} share the link of ${hop.address} for what goes through the host bridge: ` +
      `${link.bandwidth.toFixed(1)} GB/s in one direction`;
    yield { kind: 'shared-link', devices: [...ends], text };
  }
}

function* numaCrossings(devices: readonly PciFunction[]): Generator<P2pNote> {
  const nodes = grouped(devices, ({ numaNode }) => numaNode);
  nodes.delete(undefined);
  if (nodes.size < 2) return;
  const parts = [...nodes].map(([node, members]) => `${names(members)} on node ${String(node)}`);
  yield {
    kind: 'numa',
    devices: [...devices],
    text: `DMA between NUMA nodes crosses the sockets: ${parts.join('; ')}`,
  };
}

function* slowLinks(devices: readonly PciFunction[]): Generator<P2pNote> {
  const links = new Set(devices.flatMap(chainOf));
  for (const hop of links) {
    const slow = slowLink(hop);
    if (slow)
      yield {
        kind: 'slow-link',
        devices: devices.filter((one) => chainOf(one).includes(hop)),
        text: slowLinkText(slow),
      };
  }
}

const payloadOf = ({ capabilities }: PciFunction): number | undefined =>
  capabilities.find((found) => found.type === 'express')?.maxPayload;

function* payloads(devices: readonly PciFunction[]): Generator<P2pNote> {
  const sizes = grouped([...new Set(devices.flatMap(chainOf))], payloadOf);
  sizes.delete(undefined);
  const least = Math.min(...[...sizes.keys()].map((size) => size ?? Infinity));
  if (!devices.some((device) => (payloadOf(device) ?? 0) > least)) return;
  const parts = [...sizes].map(([size, members]) => `${String(size)} bytes: ${names(members)}`);
  const text =
    `a device sends packets of its Max_Payload_Size, and a function refuses packets that are larger than its own (${parts.join('; ')}): boot ` +
    'with pci=pcie_bus_peer2peer';
  yield { kind: 'payload', devices: [...devices], text };
}

function* translation(devices: readonly PciFunction[]): Generator<P2pNote> {
  const atsOf = ({ capabilities, gaps }: PciFunction) => {
    const ats = capabilities.find((found) => found.type === 'ats');
    if (!ats) return gaps.length > 0 ? 'unknown' : 'none';
    return ats.enabled ? 'on' : 'off';
  };
  const found = grouped(devices, atsOf);
  const without = [...(found.get('none') ?? []), ...(found.get('off') ?? [])];
  if (without.length === 0) return;
  const off = found.get('off');
  const text =
    `${names(without)}: without ATS, DMA to IOVAs of an Ioas goes up to the IOMMU even where the verdict is direct` +
    (off ? `; ${names(off)} has ATS, which is off` : '');
  yield { kind: 'ats', devices: without, text };
}

const unit = 1024n;
function sizeText(bytes: bigint): string {
  const steps = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let [size, step] = [bytes, 0];
  while (size >= unit && size % unit === 0n && step < steps.length - 1) [size, step] = [size / unit, step + 1];
  return `${String(size)} ${steps[step] ?? ''}`;
}

/** The size of a BAR that can be exported: whole pages. @internal */
export function exportableSize(size: bigint): bigint {
  return size - (size % native.pageSize);
}

function* bars(devices: readonly PciFunction[]): Generator<P2pNote> {
  for (const device of devices) {
    for (const { index, kind, size, sizes } of device.bars) {
      if (kind !== 'memory') continue;
      const largest = sizes.at(-1) ?? 0n;
      const bar = `BAR ${String(index)} of ${device.address}`;
      const now = exportableSize(size);
      if (now === 0n) {
        const text = `${bar} cannot be exported: its ${sizeText(size)} are less than a page of ${sizeText(native.pageSize)}`;
        yield { kind: 'bar', devices: [device], text };
      }
      if (largest > size) {
        const text = `${bar} is resizable: ${sizeText(now)} can be exported now, and up to ${sizeText(largest)}`;
        yield { kind: 'bar', devices: [device], text };
      }
    }
  }
}

/** @internal */
export function hostNotes(
  devices: readonly PciFunction[],
  indirect: readonly { from: PciFunction; to: PciFunction }[],
): P2pNote[] {
  return [
    ...sharedLinks(indirect),
    ...numaCrossings(devices),
    ...slowLinks(devices),
    ...payloads(devices),
    ...translation(devices),
    ...bars(devices),
  ];
}
