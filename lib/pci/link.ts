// Computes the bandwidth of a PCI Express link.

/** A function's PCI Express link towards the host. For root ports and downstream ports, the link below the port. */
export interface PciLink {
  /** The speed per lane, in GT/s. */
  speed: number;
  /** The number of lanes. */
  width: number;
  /** The maximum that the function itself supports. */
  maxSpeed: number;
  maxWidth: number;
  /** The current bandwidth in one direction, after line coding and before packet headers, in GB/s (10^9 bytes). */
  bandwidth: number;
}

/** The share of data in the raw bits: 8b/10b coding; from 8 GT/s on, 128b/130b; from 64 GT/s on, 256-byte flits. */
function efficiency(speed: number): number {
  if (speed < 8) return 8 / 10;
  return speed < 64 ? 128 / 130 : 242 / 256;
}

/** Returns the bandwidth in one direction, in GB/s. */
function carries(speed: number, width: number): number {
  return (speed * width * efficiency(speed)) / 8;
}

/** Parses a link from sysfs, for example '16.0 GT/s PCIe' and '4'; undefined if the link is down. @internal */
export function toLink(speed: string, width: string, maxSpeed: string, maxWidth: string): PciLink | undefined {
  const [now, lanes] = [parseFloat(speed), parseInt(width, 10)];
  if (!(now > 0 && lanes > 0)) return undefined;
  const most = parseFloat(maxSpeed) || now;
  const mostLanes = parseInt(maxWidth, 10);
  // 255: unknown to the kernel.
  const maximum = mostLanes > 0 && mostLanes < 255 ? mostLanes : lanes;
  return { speed: now, width: lanes, maxSpeed: most, maxWidth: maximum, bandwidth: carries(now, lanes) };
}
