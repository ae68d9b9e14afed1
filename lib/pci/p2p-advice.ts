// What would improve the path between two functions.
import type { P2pAdvice, P2pPath } from './p2p-path';
import { slowLink, type SlowLink } from './uplink';

/** For example 'the link of 0000:03:00.0 runs at 8 GT/s x4, and it could do 16 GT/s x4'. @internal */
export function slowLinkText({ below, link, speed, width }: SlowLink): string {
  return (
    `the link of ${below.address} runs at ${String(link.speed)} GT/s x${String(link.width)}, and it could do ` +
    `${String(speed)} GT/s x${String(width)}`
  );
}

/** The disadvantage of ports that do not redirect. @internal */
export const isolationCost =
  "isolation: the devices below these ports reach each other's memory unseen by the IOMMU, even if they are in different " +
  'IOMMU groups afterwards, so all of them must belong to one owner';

/** Returns the advice on a path. `toHost`: whether it goes through the host bridge. @internal */
export function advise(path: Omit<P2pPath, 'reason' | 'advice'>, toHost: boolean): P2pAdvice[] {
  const advice: P2pAdvice[] = [];
  const { verdict, from, to, common, redirects, slowest, unreadable } = path;
  const add = (text: string, kernelParameter?: string, cost?: string) =>
    void advice.push({ text, kernelParameter, cost });
  const gaps = [from, to, ...unreadable].flatMap((found) => found.gaps);
  const lost = [from, to].some((end) => end.gaps.some(({ what }) => what === 'function' || what === 'place'));
  if (verdict === 'unknown' && gaps.some(({ root }) => root)) add('run this as root, who may read config space');
  if (common && redirects.length > 0) {
    const ports = redirects.map(({ address }) => address).join(';');
    const parameter = `pci=disable_acs_redir=${ports}`;
    add(`switch the redirection off, and the way is direct: boot with "${parameter}"`, parameter, isolationCost);
  }
  if (toHost && !common && !lost && (verdict === 'unsupported' || verdict === 'unknown')) {
    add('put both behind one PCI Express switch: their traffic need not pass the host bridge then');
  }
  const slow = slowest && slowLink(slowest);
  if (slow) add(`${slowLinkText(slow)}: see what it is plugged into, or whether it saves power`);
  return advice;
}
