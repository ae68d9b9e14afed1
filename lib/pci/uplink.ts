// The PCI Express links between functions: which function tells of a link, and what the link could carry.
import type { PciFunction } from './function';
import type { PciLink } from './link';

/** The link of a root port or downstream port is the link below it. */
const leadsDown = ({ port }: PciFunction): boolean => port === 'root-port' || port === 'downstream-port';

/**
 * Returns the link between a function and the port above it, as the function tells it, or else the port; undefined: there
 * is none, or neither tells.
 *
 * @internal
 */
export function linkAbove(below: PciFunction): PciLink | undefined {
  if (leadsDown(below)) return undefined;
  return below.link ?? (below.parent && leadsDown(below.parent) ? below.parent.link : undefined);
}

/** What a link could carry more than it does. @internal */
export interface SlowLink {
  /** The function below the link. */
  below: PciFunction;
  link: PciLink;
  /** The maximum of both ends: in GT/s, and in lanes. */
  speed: number;
  width: number;
}

/**
 * Returns the link above a function if both ends could do more than they do; undefined if the link runs at the limit of
 * one of them.
 *
 * @internal
 */
export function slowLink(below: PciFunction): SlowLink | undefined {
  const link = linkAbove(below);
  if (!link) return undefined;
  const port = below.parent && leadsDown(below.parent) ? below.parent.link : undefined;
  const speed = Math.min(link.maxSpeed, port?.maxSpeed ?? Infinity);
  const width = Math.min(link.maxWidth, port?.maxWidth ?? Infinity);
  return link.speed < speed || link.width < width ? { below, link, speed, width } : undefined;
}
