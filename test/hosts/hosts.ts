// Hosts, most of them modelled on typical hardware: for tests, and to try the command line (write.ts).
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { P2pVerdict } from '../../lib';
import { acs, ports, writeHost, type Host, type HostFunction, type Link } from './host';
import { writeRecorded, type RecordedHost } from './recorded';

const gigabyte = 2 ** 30;
const megabyte = 2 ** 20;

interface EndpointKind {
  vendor: number;
  device: number;
  classCode: number;
  driver: string;
  bars: NonNullable<HostFunction['bars']>;
  link: Link;
  resizable?: number;
}

const gpu: EndpointKind = {
  ...{ vendor: 0x10de, device: 0x2330, classCode: 0x030200, driver: 'nvidia' },
  bars: [{ size: 16 * megabyte }, { size: 128 * gigabyte, prefetchable: true }],
  link: { speed: 32, width: 16 },
  resizable: 0x3ffc0,
};
const nic: EndpointKind = {
  ...{ vendor: 0x15b3, device: 0x1021, classCode: 0x020700, driver: 'mlx5_core' },
  bars: [{ size: 32 * megabyte, prefetchable: true }],
  link: { speed: 32, width: 16 },
};
const ssd: EndpointKind = {
  ...{ vendor: 0x144d, device: 0xa80a, classCode: 0x010802, driver: 'nvme' },
  bars: [{ size: 16384 }],
  link: { speed: 16, width: 4 },
};

const bus = (number: number) => number.toString(16).padStart(2, '0');

function endpoint(kind: EndpointKind, at: string, group: number, more: Partial<HostFunction> = {}): HostFunction {
  return { at, ...kind, port: ports.endpoint, group, ...more };
}

interface Port {
  at: string;
  vendor: number;
  device: number;
  port: number;
  acs?: number;
  link?: Link;
  group: number;
}

function bridge({ acs: control, link, ...port }: Port, behind: HostFunction[]): HostFunction {
  return {
    ...port,
    classCode: 0x060400,
    driver: 'pcieport',
    behind,
    ...(control !== undefined && { acs: control }),
    ...(link && { link }),
  };
}

/** A laptop: AMD, one host bridge, each device behind its own root port. */
const laptop: Host = {
  cpu: { vendor: 'AuthenticAMD', family: 25 },
  hostBridges: [
    {
      bus: '0000:00',
      functions: [
        { at: '00:00.0', vendor: 0x1022, device: 0x14b5, classCode: 0x060000, group: 0 },
        bridge({ at: '00:02.1', vendor: 0x1022, device: 0x14ba, port: ports.rootPort, acs: acs.isolating, group: 1 }, [
          endpoint(ssd, '01:00.0', 4, { link: { speed: 8, width: 4, maxSpeed: 16 } }),
        ]),
        bridge({ at: '00:02.2', vendor: 0x1022, device: 0x14ba, port: ports.rootPort, acs: acs.isolating, group: 2 }, [
          {
            ...{ at: '02:00.0', vendor: 0x14c3, device: 0x0608, classCode: 0x028000, driver: 'mt7921e', group: 5 },
            ...{ port: ports.endpoint, link: { speed: 5, width: 1 }, bars: [{ size: megabyte, prefetchable: true }] },
          },
        ]),
        bridge({ at: '00:08.1', vendor: 0x1022, device: 0x14b9, port: ports.rootPort, acs: acs.isolating, group: 3 }, [
          endpoint({ ...gpu, vendor: 0x1002, device: 0x1681, classCode: 0x030000, driver: 'amdgpu' }, '03:00.0', 6, {
            bars: [{ size: 256 * megabyte, prefetchable: true }],
            link: { speed: 16, width: 16 },
          }),
        ]),
      ],
    },
  ],
};

/** A server with two Intel sockets: two root ports in use on each, no switch. */
const twoSockets: Host = {
  cpu: { vendor: 'GenuineIntel', family: 6 },
  hostBridges: [
    {
      bus: '0000:00',
      numaNode: 0,
      functions: [{ at: '00:00.0', vendor: 0x8086, device: 0x2020, classCode: 0x060000, group: 0 }],
    },
    ...[0x17, 0xae].map((root, socket) => ({
      bus: `0000:${bus(root)}`,
      numaNode: socket,
      functions: [ssd, nic].map((kind, i) =>
        bridge(
          {
            at: `${bus(root)}:0${String(2 * i)}.0`,
            ...{ vendor: 0x8086, device: 0x2030 + 2 * i, port: ports.rootPort, acs: acs.isolating },
            group: 10 * (socket + 1) + 2 * i,
          },
          [
            endpoint(kind, `${bus(root + 1 + i)}:00.0`, 10 * (socket + 1) + 2 * i + 1, {
              link: { speed: 8, width: kind.link.width },
            }),
          ],
        ),
      ),
    })),
  ],
};

/**
 * Four switches, each with two GPUs and two network cards, below two sockets that are not in the kernel's list of host
 * bridges.
 */
function gpuServer(control: number): Host {
  const isolated = control === acs.isolating;
  const root = (index: number): number => 0x10 + 0x20 * index;
  const behindSwitch = (index: number): HostFunction[] => {
    const first = root(index) + 1;
    const groups = 20 * (index + 1);
    const port = { vendor: 0x1000, device: 0xc030, link: { speed: 32, width: 16 } };
    const downstream = [gpu, gpu, nic, nic].map((kind, i) => {
      const at = `${bus(first + 1)}:0${String(i)}.0`;
      const group = isolated ? groups + 2 + 2 * i : groups;
      return bridge({ at, ...port, port: ports.downstream, acs: control, group }, [
        endpoint(kind, `${bus(first + 2 + i)}:00.0`, isolated ? group + 1 : groups),
      ]);
    });
    return [
      bridge(
        { at: `${bus(first)}:00.0`, ...port, port: ports.upstream, group: isolated ? groups + 1 : groups },
        downstream,
      ),
    ];
  };
  return {
    cpu: { vendor: 'GenuineIntel', family: 6 },
    hostBridges: [0, 1, 2, 3].map((index) => ({
      bus: `0000:${bus(root(index))}`,
      numaNode: index >> 1,
      functions: [
        bridge(
          {
            ...{ at: `${bus(root(index))}:01.0`, vendor: 0x8086, device: 0x352a, port: ports.rootPort },
            ...{ acs: control, link: { speed: 32, width: 16 }, group: 20 * (index + 1) - 1 },
          },
          behindSwitch(index),
        ),
      ],
    })),
  };
}

/** The described hosts, by name. */
export const hosts: Readonly<Record<string, Host>> = {
  laptop,
  'two-sockets': twoSockets,
  'gpu-server': gpuServer(acs.plain),
  'gpu-server-acs': gpuServer(acs.isolating),
};

/**
 * A recorded host: test/p2p/fabric.ts in QEMU, with the verdicts of Linux 7.3.4 on every pair (`npm run test:p2p --
 * --record`).
 */
export function virtualMachine(): { host: RecordedHost; verdicts: [from: string, to: string, P2pVerdict, number][] } {
  return JSON.parse(readFileSync(join(__dirname, 'virtual-machine.json'), 'utf8')) as ReturnType<typeof virtualMachine>;
}

export const hostNames: readonly string[] = [...Object.keys(hosts), 'virtual-machine'];

/** Writes the host of this name as files. Returns the path of its sysfs. */
export function writeNamed(folder: string, name: string): string {
  const made = hosts[name];
  if (made) return writeHost(folder, made);
  if (name === 'virtual-machine') return writeRecorded(folder, virtualMachine().host);
  throw new Error(`there is no host ${name}`);
}
