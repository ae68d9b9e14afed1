// Formats the path between two devices as text and as JSON.
import { addParameter } from '../host/command-line';
import type { PciFunction } from '../pci/function';
import { longName, shortAddress } from '../pci/names';
import type { P2pAdvice, P2pPath } from '../pci/p2p-path';
import type { SharedIoas } from '../pci/shared-ioas';
import { linkText } from './host';
import { paint, table, type Style } from './output';
import { verdictLooks } from './verdict';

function adviceLines({ text, kernelParameter, cost }: P2pAdvice): string[] {
  const commands = kernelParameter === undefined ? [] : addParameter(kernelParameter);
  return [
    table(['Better:'], [[text]]),
    ...(cost === undefined ? [] : [table(['Its cost:'], [[cost]])]),
    ...(commands.length > 0 ? [paint('bold', 'As root:'), ...commands.map((command) => `  ${command}`)] : []),
  ];
}

function hopText(hop: PciFunction, { from, to, common, redirects }: P2pPath): string {
  const facts = [
    longName(hop),
    hop === from || hop === to ? linkText(hop) : undefined,
    hop === common ? 'above both' : undefined,
    redirects.includes(hop) ? 'redirects to the host bridge' : undefined,
  ];
  return facts.filter((fact) => fact !== undefined).join(', ');
}

/** Returns IOMMUFD's requirements on the two devices, one sentence per row. */
function ioasRows({ possible, objections, windows }: SharedIoas): string[][] {
  if (possible) return [['IOMMUFD', 'yes: both can be attached to one Ioas. It does not ask about the path']];
  const why = objections.map(({ text }) => text);
  if (windows.length === 0) why.push('no IOVA is free: the devices reserve all of them');
  return [['IOMMUFD', 'no: one Ioas cannot have both as things are'], ...why.map((text) => ['', text])];
}

/** Returns the commands that bind the devices to vfio-pci. */
function bindLines({ objections }: SharedIoas): string[] {
  const taken = objections.filter(({ device }) => device.iommuGroup !== undefined).map(({ device }) => device.address);
  if (taken.length === 0) return [];
  const command = `vfio-dmabuf bind ${taken.map(shortAddress).join(' ')}`;
  return ['', paint('bold', 'For IOMMUFD, as root:'), `  ${command}`];
}

export function pathLines(path: P2pPath, ioas: SharedIoas): string[] {
  const { verdict, reason, hops, bandwidth, slowest, distance, advice } = path;
  const { text, style } = verdictLooks[verdict];
  const slow =
    bandwidth === undefined
      ? 'no link on the way tells its speed'
      : `at most ${bandwidth.toFixed(1)} GB/s one way: the link of ${shortAddress(slowest?.address ?? '')}`;
  const rows = [
    ['verdict', text],
    ['because', reason],
    ...hops.map((hop, i) => [i === 0 ? 'path' : '', `${shortAddress(hop.address)}  ${hopText(hop, path)}`]),
    ['distance', distance === undefined ? 'not known' : String(distance)],
    ['bandwidth', slow],
    ...ioasRows(ioas),
  ];
  const styles: (Style | undefined)[] = [style];
  return [
    table(['', `${shortAddress(path.from.address)} and ${shortAddress(path.to.address)}`], rows, styles),
    ...bindLines(ioas),
    ...advice.flatMap((one) => ['', ...adviceLines(one)]),
  ];
}

const addresses = (functions: readonly PciFunction[]) => functions.map(({ address }) => address);

export function pathJson(path: P2pPath, { possible, objections, windows }: SharedIoas): unknown {
  const { from, to, common, slowest, hops, redirects, unreadable, bandwidth, advice } = path;
  return {
    from: from.address,
    to: to.address,
    verdict: path.verdict,
    reason: path.reason,
    distance: path.distance ?? null,
    common: common?.address ?? null,
    hops: addresses(hops),
    redirects: addresses(redirects),
    unreadable: addresses(unreadable),
    bandwidth: bandwidth ?? null,
    slowest: slowest?.address ?? null,
    advice: advice.map(({ text, kernelParameter = null, cost = null }) => ({ text, kernelParameter, cost })),
    sharedIoas: {
      possible,
      objections: objections.map(({ device, text }) => ({ device: device.address, text })),
      windows,
    },
  };
}
