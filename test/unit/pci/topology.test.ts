// The PCI tree and the P2PDMA verdicts, on described hosts. test/p2p compares them with the kernel's verdicts.
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PciTopology, type P2pPath } from '../../../lib';
import { acs, ports, writeHost, type Host, type HostFunction } from '../../hosts/host';
import { hosts, virtualMachine } from '../../hosts/hosts';
import { writeRecorded } from '../../hosts/recorded';

const addresses = (functions: readonly { address: string }[]) => functions.map(({ address }) => address.slice(5));

describe('the PCI topology of a host', () => {
  let folder: string;
  const read = (host: Host | undefined, name: string) => {
    assert(host);
    return PciTopology.read({ sysfs: writeHost(join(folder, name), host) });
  };
  const named = new Map<string, PciTopology>();
  const host = (name: string): PciTopology => {
    const known = named.get(name) ?? read(hosts[name], name);
    named.set(name, known);
    return known;
  };

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-hosts-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('says of every pair what Linux 7.3.4 did, on the machine where it did', () => {
    const { host: recorded, verdicts } = virtualMachine();
    const topology = PciTopology.read({ sysfs: writeRecorded(join(folder, 'recorded'), recorded) });
    const seen = verdicts.map(([from, to]) => topology.p2pPath(from, to));
    assert.deepEqual(
      seen.map(({ from, to, verdict, distance }) => [from.address, to.address, verdict, distance]),
      verdicts,
    );
    assert(verdicts.length > 200 && new Set(seen.map(({ verdict }) => verdict)).size > 1);
  });

  it('has the tree, the BARs, and the links', () => {
    const { hostBridges, functions } = host('gpu-server');
    assert.deepEqual([...hostBridges.keys()], ['pci0000:10', 'pci0000:30', 'pci0000:50', 'pci0000:70']);
    const gpu = functions.get('0000:13:00.0');
    assert(gpu);
    assert.deepEqual(addresses([gpu, gpu.parent, gpu.parent?.parent].filter((found) => found !== undefined)), [
      '13:00.0',
      '12:00.0',
      '11:00.0',
    ]);
    assert.deepEqual(addresses(gpu.parent?.parent?.children ?? []), ['12:00.0', '12:01.0', '12:02.0', '12:03.0']);
    assert.equal(gpu.parent?.port, 'downstream-port');
    assert.deepEqual(
      gpu.bars.map(({ index, size, prefetchable, wide }) => ({ index, size, prefetchable, wide })),
      [
        { index: 0, size: 1n << 24n, prefetchable: false, wide: false },
        { index: 1, size: 1n << 37n, prefetchable: true, wide: true },
      ],
    );
    assert.deepEqual(gpu.bars[1]?.sizes.slice(0, 2), [1n << 26n, 1n << 27n]);
    assert.equal(gpu.link?.bandwidth.toFixed(1), '63.0');
    assert.equal(gpu.numaNode, 0);
    assert.equal(functions.get('0000:53:00.0')?.numaNode, 1);
  });

  it('behind one switch: direct, unless Access Control Services redirect', () => {
    const direct = host('gpu-server').p2pPath('13:00.0', '15:00.0');
    assert.equal(direct.verdict, 'direct');
    assert.equal(direct.distance, 4);
    assert.deepEqual(addresses(direct.hops), ['13:00.0', '12:00.0', '11:00.0', '12:02.0', '15:00.0']);
    assert.deepEqual(direct.advice, []);

    const redirected = host('gpu-server-acs').p2pPath('13:00.0', '15:00.0');
    assert.equal(redirected.verdict, 'unsupported');
    assert.equal(redirected.distance, 4);
    assert.deepEqual(addresses(redirected.redirects), ['12:00.0', '12:02.0']);
    assert.deepEqual(addresses(redirected.hops), [
      ...['13:00.0', '12:00.0', '11:00.0', '10:01.0'],
      ...['11:00.0', '12:02.0', '15:00.0'],
    ]);
    assert.match(redirected.reason, /redirect it to the host bridge/);
    assert.equal(redirected.advice[0]?.kernelParameter, 'pci=disable_acs_redir=0000:12:00.0;0000:12:02.0');
    assert.match(redirected.advice[0].cost ?? '', /IOMMU group/);
  });

  it('through the host bridge: by the CPU, or by who the host bridges are', () => {
    const { verdict, reason, bandwidth, slowest, advice } = host('laptop').p2pPath('01:00.0', '03:00.0');
    assert.equal(verdict, 'host-bridge');
    assert.match(reason, /AuthenticAMD family 25/);
    assert.equal(bandwidth?.toFixed(2), '3.94');
    assert.equal(slowest?.address, '0000:01:00.0');
    assert.match(advice[0]?.text ?? '', /runs at 8 GT\/s x4, and it could do 16 GT\/s x4/);
    const sockets = host('two-sockets').p2pPath('18:00.0', 'b0:00.0');
    assert.equal(sockets.verdict, 'host-bridge');
    assert.match(sockets.reason, /pci0000:17 \(8086:2030\) and pci0000:ae \(8086:2030\)/);
    assert.equal(host('gpu-server').p2pPath('13:00.0', '33:00.0').verdict, 'unsupported');
    assert.equal(host('gpu-server').p2pPath('13:00.0', '13:00.0').distance, 0);
  });

  describe('the rules', () => {
    const endpoint = (at: string): HostFunction => ({
      ...{ at, vendor: 0x1b36, device: 0x10, classCode: 0x010802, port: ports.endpoint },
    });
    const twoPorts = (cpu: Host['cpu'], vendor: number, device: number, second = '00'): Host => {
      const port = (at: string, behind: string): HostFunction => ({
        ...{ at, vendor, device, classCode: 0x060400, port: ports.rootPort, behind: [endpoint(behind)] },
      });
      const [one, other] = [port('00:01.0', '01:00.0'), port(`${second}:02.0`, '81:00.0')];
      if (second === '00') return { cpu, hostBridges: [{ bus: '0000:00', functions: [one, other] }] };
      return {
        cpu,
        hostBridges: [
          { bus: '0000:00', functions: [one] },
          { bus: `0000:${second}`, functions: [other] },
        ],
      };
    };
    const intel = { vendor: 'GenuineIntel', family: 6 };
    const judge = (described: Host): P2pPath => {
      rmSync(join(folder, 'one'), { recursive: true, force: true });
      return read(described, 'one').p2pPath('01:00.0', '81:00.0');
    };

    const rows: [string, Host, P2pPath['verdict']][] = [
      ['AMD before Zen', twoPorts({ vendor: 'AuthenticAMD', family: 0x16 }, 0x1022, 0x1), 'unsupported'],
      ['AMD from Zen on', twoPorts({ vendor: 'AuthenticAMD', family: 0x17 }, 0x1022, 0x1), 'host-bridge'],
      [
        'Hygon, which the kernel does not name',
        twoPorts({ vendor: 'HygonGenuine', family: 0x18 }, 1, 1),
        'unsupported',
      ],
      ['an old Xeon, one host bridge', twoPorts(intel, 0x8086, 0x2f00), 'host-bridge'],
      ['an old Xeon, two host bridges', twoPorts(intel, 0x8086, 0x2f00, '80'), 'unsupported'],
      ['Skylake, two host bridges', twoPorts(intel, 0x8086, 0x2030, '80'), 'host-bridge'],
      ['any of Google', twoPorts(intel, 0x1ae0, 0xabcd, '80'), 'host-bridge'],
      ['a known number of another vendor', twoPorts(intel, 0x1022, 0x2030), 'unsupported'],
    ];
    for (const [title, described, verdict] of rows) {
      it(`${title}: ${verdict}`, () => assert.equal(judge(described).verdict, verdict));
    }

    it('a CPU that is not known decides nothing', () => {
      const sysfs = writeHost(join(folder, 'cpu'), twoPorts(intel, 0x1234, 1));
      rmSync(join(folder, 'cpu/proc'), { recursive: true });
      assert.equal(PciTopology.read({ sysfs }).p2pPath('01:00.0', '81:00.0').verdict, 'unknown');
      const cpuinfo = 'vendor_id\t: AuthenticAMD\ncpu family\t: 23\n';
      assert.equal(PciTopology.read({ sysfs, cpuinfo }).p2pPath('01:00.0', '81:00.0').verdict, 'host-bridge');
    });

    it('redirection at the bridge above both, and at an end, counts', () => {
      const pair = (above: number | undefined, end: number | undefined): Host => ({
        cpu: intel,
        hostBridges: [
          {
            bus: '0000:00',
            functions: [
              {
                ...{ at: '00:01.0', vendor: 1, device: 1, classCode: 0x060400, port: ports.rootPort },
                ...(above !== undefined && { acs: above }),
                behind: [{ ...endpoint('01:00.0'), ...(end !== undefined && { acs: end }) }, endpoint('81:00.0')],
              },
            ],
          },
        ],
      });
      assert.equal(judge(pair(undefined, undefined)).verdict, 'direct');
      assert.equal(judge(pair(acs.plain, acs.plain)).verdict, 'direct');
      assert.deepEqual(addresses(judge(pair(acs.isolating, undefined)).redirects), ['00:01.0']);
      assert.deepEqual(addresses(judge(pair(undefined, 0x20)).redirects), ['01:00.0']);
    });
  });

  it('says what it could not read, as users other than root cannot', () => {
    const described = hosts['gpu-server-acs'];
    assert(described);
    const sysfs = writeHost(join(folder, 'user'), described);
    for (const address of host('gpu-server-acs').functions.keys()) {
      truncateSync(join(sysfs, 'bus/pci/devices', address, 'config'), 64);
    }
    const { verdict, unreadable, reason, advice } = PciTopology.read({ sysfs }).p2pPath('13:00.0', '14:00.0');
    assert.equal(verdict, 'unknown');
    assert.equal(unreadable.length, 5);
    assert.match(reason, /only root can read .*; they probably do: the two are in different IOMMU groups/);
    assert.match(advice[0]?.text ?? '', /as root/);
  });

  it('devices that share an Ioas: their groups must be free, and IOVAs be left', () => {
    const topology = host('gpu-server');
    const { possible, objections, windows } = topology.sharedIoas(['13:00.0', '33:00.0'], { length: 1n << 37n });
    assert(!possible);
    assert.deepEqual(
      objections.map(({ text }) => text),
      [
        '0000:13:00.0 is bound to nvidia, not to vfio-pci',
        '0000:33:00.0 is bound to nvidia, not to vfio-pci',
        'IOMMU group 20 is not viable: driver nvidia has 0000:14:00.0 of it',
        'IOMMU group 20 is not viable: driver mlx5_core has 0000:15:00.0 of it',
        'IOMMU group 20 is not viable: driver mlx5_core has 0000:16:00.0 of it',
        'IOMMU group 40 is not viable: driver nvidia has 0000:34:00.0 of it',
        'IOMMU group 40 is not viable: driver mlx5_core has 0000:35:00.0 of it',
        'IOMMU group 40 is not viable: driver mlx5_core has 0000:36:00.0 of it',
      ],
    );
    assert.deepEqual(windows, [
      { start: 0n, last: 0xfedf_ffffn },
      { start: 0xfef0_0000n, last: (1n << 64n) - 1n },
    ]);
    assert.throws(() => topology.sharedIoas(['13:00.0'], { length: 0 }), { code: 'ERR_OUT_OF_RANGE' });
    const group = join(folder, 'gpu-server/sys/kernel/iommu_groups/20/reserved_regions');
    writeFileSync(group, '0x0000000000000000 0x0000000000ffffff direct\n');
    appendFileSync(group, '0x0000000002000000 0x0000000002ffffff direct-relaxable\n');
    appendFileSync(group, '0x0000000001000000 0xffffffffffffffff reserved\n');
    assert.deepEqual(topology.sharedIoas(['13:00.0']).windows, []);
  });

  it('judges 512 devices against each other in time', () => {
    const port = (index: number): HostFunction => {
      const bus = (number: number) => number.toString(16).padStart(2, '0');
      return {
        ...{ at: `${bus(index * 8)}:01.0`, vendor: 0x8086, device: 0x352a, classCode: 0x060400, port: ports.rootPort },
        behind: Array.from({ length: 16 }, (_, i) => ({
          ...{
            at: `${bus(index * 8 + 1)}:${bus(i)}.0`,
            vendor: 1,
            device: 1,
            classCode: 0x060400,
            port: ports.downstream,
          },
          acs: i % 2 === 0 ? acs.plain : acs.isolating,
          behind: Array.from({ length: 2 }, (_unused, j) => endpointAt(`${bus(index * 8 + 2)}:${bus(i)}.${String(j)}`)),
        })),
      };
    };
    const endpointAt = (at: string): HostFunction => ({
      ...{ at, vendor: 1, device: 2, classCode: 0x030200, port: ports.endpoint },
    });
    const cpu = { vendor: 'GenuineIntel', family: 6 };
    const topology = read(
      {
        cpu,
        hostBridges: Array.from({ length: 16 }, (_, i) => {
          const functions = [port(i)];
          return { bus: functions[0]?.at.replace(/^(..).*/, '0000:$1') ?? '', functions };
        }),
      },
      'large',
    );
    const start = process.cpuUsage();
    const matrix = topology.p2pMatrix();
    const took = process.cpuUsage(start).user / 1000;
    assert.equal(matrix.devices.length, 512);
    assert(took < 500, `${took.toFixed(1)} ms of CPU time`);
    for (const [i, j] of [
      [0, 0],
      [0, 1],
      [0, 5],
      [3, 500],
      [511, 2],
    ] as const) {
      assert.equal(matrix.verdict(i, j), matrix.path(i, j).verdict);
      assert.equal(matrix.verdict(i, j), matrix.verdict(j, i));
    }
    assert.throws(() => matrix.verdict(0, 512), { code: 'ERR_OUT_OF_RANGE' });
  });

  it('refuses what is not there', () => {
    assert.throws(() => PciTopology.read({ sysfs: folder }), { code: 'ERR_NO_PCI' });
    assert.throws(() => host('laptop').find('ff:00.0'), { code: 'ERR_NO_SUCH_DEVICE' });
    assert.throws(() => host('laptop').find('nothing'), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => host('laptop').find(null as never), { code: 'ERR_INVALID_ARG_TYPE' });
  });
});
