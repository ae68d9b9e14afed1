// A machine with every kind of path between two devices that QEMU supports: root ports with and without Access Control
// Services, two functions below one of them, a switch, devices on the root bus, a second host bridge, conventional PCI.
// Each of its drives has a Controller Memory Buffer.

const drive = (id: string, at: string): string[] => [
  ...['-drive', `file=null-co://,if=none,id=${id}-disk,file.size=16M,file.read-zeroes=on,format=raw`],
  ...['-device', `nvme,serial=${id},drive=${id}-disk,cmb_size_mb=16,legacy-cmb=on,${at}`],
];
const device = (what: string): string[] => ['-device', what];
const rootPort = (id: string, number: number, more = ''): string[] =>
  device(`pcie-root-port,bus=pcie.0,addr=${(0x10 + number).toString(16)}.0,id=${id},chassis=${String(number)}${more}`);

/** QEMU's arguments, in addition to those of an empty machine. Serial numbers identify the drives. */
export const fabric: readonly string[] = [
  ...rootPort('isolated', 1),
  ...drive('isolated', 'bus=isolated'),
  ...rootPort('plain', 2, ',disable-acs=on'),
  ...drive('plain', 'bus=plain'),
  ...rootPort('pair', 3),
  ...drive('pair0', 'bus=pair,addr=0.0,multifunction=on'),
  ...drive('pair1', 'bus=pair,addr=0.1'),
  ...rootPort('uplink', 4),
  ...device('x3130-upstream,bus=uplink,id=switch'),
  ...['left', 'right', 'screen', 'engine'].flatMap((id, i) =>
    device(`xio3130-downstream,bus=switch,addr=${String(i)}.0,id=${id},chassis=${String(10 + i)}`),
  ),
  ...drive('left', 'bus=left'),
  ...drive('right', 'bus=right'),
  ...device('bochs-display,bus=screen'),
  ...device('edu,bus=engine'),
  ...drive('root', 'bus=pcie.0,addr=1a.0'),
  ...device('edu,bus=pcie.0,addr=1b.0'),
  ...rootPort('legacy', 5),
  ...device('pcie-pci-bridge,bus=legacy,id=conventional'),
  ...device('ivshmem-plain,bus=conventional,addr=1.0,memdev=shared'),
  ...['-object', 'memory-backend-ram,id=shared,size=1M,share=on'],
  ...device('pxb-pcie,bus=pcie.0,addr=1c.0,id=second,bus_nr=128'),
  ...device('pcie-root-port,bus=second,id=far,chassis=6'),
  ...drive('far', 'bus=far'),
];
