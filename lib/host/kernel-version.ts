// What is known of a host's kernel by its version. The library asks the kernel for each function; the version tells
// what cannot be asked: faults, and the functions of a kernel without any device to ask with.
import { bad, good, note, type Finding } from './finding';

type Version = readonly [major: number, minor: number, patch: number];

/** Parses for example '6.19.4-amd64'; undefined: it does not begin with a version. */
export function toVersion(release: string): Version | undefined {
  const [, major, minor, patch = '0'] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? [];
  return major === undefined || minor === undefined ? undefined : [Number(major), Number(minor), Number(patch)];
}

function isBefore(a: Version, b: Version): boolean {
  const at = [0, 1, 2].find((i) => a[i] !== b[i]) ?? 0;
  return (a[at] ?? 0) < (b[at] ?? 0);
}

/** The first version with VFIO's export of dma-bufs, and their mapping by IOMMUFD. */
const first: Version = [6, 19, 0];

/** Faults in the export path, by the version that fixed them. */
const faults: readonly { id: string; fixed: Version }[] = [
  { id: 'CVE-2026-31468', fixed: [6, 19, 11] },
  { id: 'CVE-2026-64042', fixed: [7, 0, 11] },
];

export const tooOld = (release: string): string =>
  `this kernel (${release}) is too old: dma-bufs of VFIO are mapped from Linux 6.19 on`;

/**
 * Returns the finding about the kernel.
 *
 * @param doesExport whether a device was seen to export its memory, as with a backport
 */
export function kernelFinding(release: string, doesExport: boolean): Finding {
  const version = toVersion(release);
  if (!version) return note('kernel', `its release, ${release}, does not tell the version`);
  if (isBefore(version, first)) {
    return doesExport
      ? note('kernel', `Linux ${release} has functions of 6.19: whoever made it brought them in`)
      : bad('kernel', tooOld(release));
  }
  const known = faults.filter(({ fixed }) => isBefore(version, fixed)).map(({ id }) => id);
  if (known.length === 0) return good('kernel', `Linux ${release}`);
  return note(
    'kernel',
    `Linux ${release} has known faults in VFIO's export of dma-bufs (${known.join(', ')}), unless its maker has fixed them: ` +
      'take 7.0.11 or newer',
  );
}
