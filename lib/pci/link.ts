// What a PCI Express link carries.

/** A function's PCI Express link towards the host; a port that leads down tells of the link below it. */
export interface PciLink {
  /** Per lane, in GT/s. */
  speed: number;
  /** Lanes. */
  width: number;
  /** What the function itself could do. */
  maxSpeed: number;
  maxWidth: number;
  /** What it carries one way now, after line coding and before packet headers, in GB/s (10^9 bytes). */
  bandwidth: number;
}

/** The part of the raw bits that data are: 8b/10b coding, from 8 GT/s on 128b/130b, from 64 GT/s on 256-byte flits. */
function efficiency(speed: number): number {
  if (speed < 8) return 8 / 10;
  return speed < 64 ? 128 / 130 : 242 / 256;
}

/** In GB/s, one way. */
function carries(speed: number, width: number): number {
  return (speed * width * efficiency(speed)) / 8;
}

/** A link as sysfs's texts have it: '16.0 GT/s PCIe' and '4'; undefined if no link is up. @internal */
export function toLink(speed: string, width: string, maxSpeed: string, maxWidth: string): PciLink | undefined {
  const [now, lanes] = [parseFloat(speed), parseInt(width, 10)];
  if (!(now > 0 && lanes > 0)) return undefined;
  const most = parseFloat(maxSpeed) || now;
  const mostLanes = parseInt(maxWidth, 10);
  // 255: the kernel does not know.
  const maximum = mostLanes > 0 && mostLanes < 255 ? mostLanes : lanes;
  return { speed: now, width: lanes, maxSpeed: most, maxWidth: maximum, bandwidth: carries(now, lanes) };
}
