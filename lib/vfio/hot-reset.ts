// Decodes VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: the devices on the same slot or bus, which a hot reset also resets.

/** A device that a hot reset resets. */
export interface HotResetDevice {
  /** The PCI address. */
  address: string;
  /** The object ID in the queried device's iommufd, if the device is bound to it. */
  id: number | undefined;
  /** The number of the IOMMU group, if the queried device was opened through its group. */
  group: number | undefined;
  /** Whether the device belongs to another owner, so that a hot reset is not allowed. */
  foreign: boolean;
}

/** The devices that a hot reset resets, and whether it is allowed. */
export interface HotResetInfo {
  /** Whether the reset is allowed: all of the devices belong to the queried device's iommufd or container. */
  allowed: boolean;
  /** All devices that are reset, including the queried device. */
  devices: HotResetDevice[];
}

// linux/vfio.h
const byIdsFlag = 1 << 0;
const ownedFlag = 1 << 1;
const notOwned = 0xffff_ffff;

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/** @param groups the numbers of the groups that this process has opened @internal */
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
