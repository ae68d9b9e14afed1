// Hosts of many devices, as they are in racks of GPUs, network cards and drives behind switches.
import { acs, ports, type Host, type HostFunction } from './host';

const link = { speed: 32, width: 16 };
const hex = (number: number, digits = 2) => number.toString(16).padStart(digits, '0');

const kinds = {
  gpu: { vendor: 0x10de, device: 0x2330, classCode: 0x030200, driver: 'nvidia', link },
  nic: { vendor: 0x15b3, device: 0x1021, classCode: 0x020700, driver: 'mlx5_core', link },
  ssd: { vendor: 0x144d, device: 0xa80a, classCode: 0x010802, driver: 'nvme', link: { speed: 16, width: 4 } },
} as const;
/** What is behind a switch. */
const behindSwitch = [...Array<'gpu'>(8).fill('gpu'), ...Array<'nic'>(4).fill('nic'), ...Array<'ssd'>(4).fill('ssd')];

/** The ways to differ: `odd`: every switch has other devices, links and drivers than the others. */
export interface LargeOptions {
  odd?: boolean;
}

/**
 * A host of `switches` switches with 16 devices each, below eight host bridges (one per 8 switches at most) on two NUMA
 * nodes. The ports of every second switch redirect. Each host bridge has functions of the host itself.
 */
export function largeHost(switches: number, { odd = false }: LargeOptions = {}): Host {
  const perBridge = Math.min(8, Math.ceil(switches / 4));
  const bridges = Math.ceil(switches / perBridge);
  const oneSwitch = (index: number): HostFunction => {
    const domain = hex(Math.floor(index / perBridge), 4);
    const bus = 1 + (index % perBridge) * 20;
    const at = (number: number, device: number) => `${domain}:${hex(number)}:${hex(device)}.0`;
    const downstream = behindSwitch.map((kind, i): HostFunction => {
      const width = odd ? 1 + ((index * 7 + i * 3) % 16) : kinds[kind].link.width;
      const behind = [
        { at: at(bus + 2 + i, 0), ...kinds[kind], port: ports.endpoint, link: { ...kinds[kind].link, width } },
      ];
      return {
        ...{ at: at(bus + 1, i), vendor: 0x1000, device: 0xc030, classCode: 0x060400, port: ports.downstream, behind },
        ...{ acs: index % 2 === 1 ? acs.isolating : acs.plain, link, driver: 'pcieport' },
      };
    });
    const upstream = {
      ...{
        at: at(bus, 0),
        vendor: 0x1000,
        device: 0xc030,
        classCode: 0x060400,
        port: ports.upstream,
        behind: downstream,
      },
      ...{ link, driver: 'pcieport' },
    };
    return {
      ...{
        at: at(0, 1 + (index % perBridge)),
        vendor: 0x8086,
        device: 0x352a,
        classCode: 0x060400,
        port: ports.rootPort,
      },
      ...{ behind: [upstream], link, driver: 'pcieport' },
    };
  };
  const system = (domain: string): HostFunction[] => [
    { at: `${domain}:00:00.0`, vendor: 0x8086, device: 0x09a2, classCode: 0x088000 },
    { at: `${domain}:00:1e.0`, vendor: 0x8086, device: 0x3456, classCode: 0x110100 },
    { at: `${domain}:00:1f.0`, vendor: 0x8086, device: 0x1bca, classCode: 0x060100 },
  ];
  return {
    cpu: { vendor: 'GenuineIntel', family: 6 },
    hostBridges: Array.from({ length: bridges }, (_, i) => {
      const domain = hex(i, 4);
      const own = Array.from({ length: switches }, (_unused, n) => n).filter((n) => Math.floor(n / perBridge) === i);
      return {
        bus: `${domain}:00`,
        numaNode: i < bridges / 2 ? 0 : 1,
        functions: [...system(domain), ...own.map(oneSwitch)],
      };
    }),
  };
}
