// VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: who shares a device's slot or bus, and is reset with it.

/** A device that a hot reset resets, too. */
export interface HotResetDevice {
  /** Its PCI address. */
  address: string;
  /** Its id in the iommufd of the device that was asked, if it is bound there. */
  id: number | undefined;
  /** The number of its IOMMU group, if the device that was asked was opened through its own. */
  group: number | undefined;
  /** Whether it stands in the way: somebody else has it. */
  foreign: boolean;
}

/** What a hot reset would do. */
export interface HotResetInfo {
  /** Whether all of the devices belong to the iommufd that the asked one is bound to, so that the reset is allowed. */
  allowed: boolean;
  /** All that are reset, the asked one included. */
  devices: HotResetDevice[];
}

// linux/vfio.h
const byIdsFlag = 1 << 0;
const ownedFlag = 1 << 1;
const notOwned = 0xffff_ffff;

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/** @param groups the numbers of those that this process has @internal */
export function toHotResetInfo(
  { flags, devices: words }: { flags: number; devices: Uint32Array },
  groups: readonly number[],
): HotResetInfo {
  const byIds = (flags & byIdsFlag) !== 0;
  const devices: HotResetDevice[] = [];
  for (let i = 0; i < words.length; i += 4) {
    const [number = 0, segment = 0, bus = 0, devfn = 0] = words.subarray(i, i + 4);
    devices.push({
      address: `${hex(segment, 4)}:${hex(bus, 2)}:${hex(devfn >> 3, 2)}.${hex(devfn & 7, 1)}`,
      id: !byIds || number === notOwned || number === 0 ? undefined : number,
      group: byIds ? undefined : number,
      foreign: byIds ? number === notOwned : !groups.includes(number),
    });
  }
  return { allowed: byIds ? (flags & ownedFlag) !== 0 : devices.every(({ foreign }) => !foreign), devices };
}
