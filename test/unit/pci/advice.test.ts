// Advice for a set of devices: the smallest change to the host, the IOMMU groups that result, and the mistakes on the
// kernel's command line.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PciTopology } from '../../../lib';
import { ruledGroups } from '../../../lib/pci/isolation';
import { P2pRules } from '../../../lib/pci/p2p';
import { acs, ports, writeHost, type Host, type HostFunction } from '../../hosts/host';
import { hosts, virtualMachine } from '../../hosts/hosts';
import { writeRecorded } from '../../hosts/recorded';

const short = (functions: readonly { address: string }[]) => functions.map(({ address }) => address.slice(5));

describe('advice for a set of devices', () => {
  let folder: string;
  let count = 0;
  const read = (host: Host | undefined, cmdline?: string) => {
    assert(host);
    const described = cmdline === undefined ? host : { ...host, cmdline };
    return PciTopology.read({ sysfs: writeHost(join(folder, String((count += 1))), described) });
  };

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-advice-'));
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('computes the IOMMU groups that Linux 7.3.4 made, on the machine where it made them', () => {
    const sysfs = writeRecorded(join(folder, 'recorded'), virtualMachine().host);
    const { functions, hostBridges } = PciTopology.read({ sysfs });
    const actual = new Map<number | undefined, string[]>();
    for (const { address, iommuGroup } of functions.values()) {
      actual.set(iommuGroup, [...(actual.get(iommuGroup) ?? []), address]);
    }
    const sorted = (groups: Iterable<string[]>) => [...groups].map((group) => group.sort().join(' ')).sort();
    assert.deepEqual(
      sorted(ruledGroups(hostBridges).map((group) => group.map(({ address }) => address))),
      sorted(actual.values()),
    );
    assert(actual.size > 20);
  });

  it('names the ports that redirect between them, by paths, and no other', () => {
    const topology = read(hosts['gpu-server-acs']);
    const { ports: changed, kernelParameter, indirect, moves, exposed, cost } = topology.advise(['13:00.0', '15:00.0']);
    assert.deepEqual(short(changed), ['12:00.0', '12:02.0']);
    assert.equal(kernelParameter, 'pci=disable_acs_redir=0000:10:01.0/00.0/00.0;0000:10:01.0/00.0/02.0');
    assert.deepEqual([indirect, moves, exposed], [[], [], []]);
    assert.match(cost ?? '', /isolation/);
    assert.deepEqual(short(topology.advise(['13:00.0', '14:00.0', '16:00.0']).ports), [
      '12:00.0',
      '12:01.0',
      '12:03.0',
    ]);
  });

  it('with that change they are direct, and with any smaller one they are not', () => {
    const topology = read(hosts['gpu-server-acs']);
    const devices = ['13:00.0', '14:00.0', '15:00.0', '16:00.0'].map((address) => topology.find(address));
    const { ports: changed } = topology.advise(devices);
    const allDirect = (off: ReadonlySet<(typeof changed)[number]>) => {
      const rules = new P2pRules(topology, off);
      return devices.every((from) => devices.every((to) => from === to || rules.path(from, to).verdict === 'direct'));
    };
    assert(allDirect(new Set(changed)));
    for (const port of changed) assert(!allDirect(new Set(changed.filter((other) => other !== port))));
  });

  it('nothing to change where they are direct', () => {
    const { ports: changed, kernelParameter, cost } = read(hosts['gpu-server']).advise(['13:00.0', '15:00.0']);
    assert.deepEqual([changed, kernelParameter, cost], [[], undefined, undefined]);
  });

  it('the IOMMU groups after the change: each port with what is below it', () => {
    const { groups } = read(hosts['gpu-server-acs']).advise(['13:00.0', '15:00.0']);
    assert.deepEqual(
      groups.map(({ from, functions }) => [from, short(functions)]),
      [
        [
          [22, 23],
          ['12:00.0', '13:00.0'],
        ],
        [
          [26, 27],
          ['12:02.0', '15:00.0'],
        ],
      ],
    );
  });

  it('other devices that become reachable', () => {
    const device = (at: string): HostFunction => ({
      ...{ at, vendor: 0x10de, device: 0x2330, classCode: 0x030200, port: ports.endpoint },
    });
    const bridge = (at: string, port: number, control: number | undefined, behind: HostFunction[]): HostFunction => ({
      ...{ at, vendor: 0x1000, device: 0xc030, classCode: 0x060400, port, behind },
      ...(control !== undefined && { acs: control }),
    });
    const downstream = [acs.isolating, acs.isolating, acs.plain, acs.isolating].map((control, i) =>
      bridge(`02:0${String(i)}.0`, ports.downstream, control, [device(`0${String(3 + i)}:00.0`)]),
    );
    const top = bridge('00:01.0', ports.rootPort, acs.isolating, [
      bridge('01:00.0', ports.upstream, undefined, downstream),
    ]);
    const cpu = { vendor: 'GenuineIntel', family: 6 };
    const topology = read({ cpu, hostBridges: [{ bus: '0000:00', functions: [top] }] });
    assert.deepEqual(short(topology.advise(['03:00.0', '04:00.0']).exposed), ['05:00.0']);
  });

  it('pairs that no port can change: which device to move, and where there is room', () => {
    const host = structuredClone(hosts['gpu-server-acs']);
    const [upstream] = host?.hostBridges[0]?.functions[0]?.behind ?? [];
    upstream?.behind?.push({
      ...{ at: '12:04.0', vendor: 0x1000, device: 0xc030, classCode: 0x060400, port: ports.downstream },
    });
    const { indirect, moves, ports: changed } = read(host).advise(['13:00.0', '14:00.0', '33:00.0']);
    assert.deepEqual(short(changed), ['12:00.0', '12:01.0']);
    assert.deepEqual(
      indirect.map(({ from, to, verdict }) => [from.address.slice(5), to.address.slice(5), verdict]),
      [
        ['13:00.0', '33:00.0', 'unsupported'],
        ['14:00.0', '33:00.0', 'unsupported'],
      ],
    );
    assert.deepEqual(
      moves.map((move) => [move.device.address.slice(5), short(move.ports)]),
      [['33:00.0', ['12:04.0']]],
    );
  });

  it('shared links, NUMA nodes, slow links, payloads, ATS, resizable BARs', () => {
    const host = structuredClone(hosts['gpu-server']);
    const [upstream] = host?.hostBridges[0]?.functions[0]?.behind ?? [];
    const [first, second] = upstream?.behind?.flatMap(({ behind }) => behind ?? []) ?? [];
    Object.assign(first ?? {}, {
      payload: [2, 2],
      ats: false,
      link: { speed: 16, width: 8, maxSpeed: 32, maxWidth: 16 },
    });
    Object.assign(second ?? {}, { payload: [2, 1], ats: true, bars: [{ size: 512 }, { size: 2 ** 28 }] });
    const { notes } = read(host).advise(['13:00.0', '14:00.0', '53:00.0']);
    const text = (kind: string) =>
      notes
        .filter((note) => note.kind === kind)
        .map((note) => note.text)
        .join('\n');
    assert.match(text('shared-link'), /^0000:13:00\.0, 0000:14:00\.0 share the link of 0000:11:00\.0 .* 63\.0 GB\/s/);
    assert.match(text('numa'), /13:00\.0, 0000:14:00\.0 on node 0; 0000:53:00\.0 on node 1/);
    assert.equal(text('slow-link'), 'the link of 0000:13:00.0 runs at 16 GT/s x8, and it could do 32 GT/s x16');
    assert.match(text('payload'), /512 bytes: 0000:13:00\.0; .*256 bytes: 0000:14:00\.0/);
    assert.match(text('ats'), /^0000:53:00\.0, 0000:13:00\.0: without ATS.*; 0000:13:00\.0 has ATS, which is off$/);
    assert.match(text('bar'), /BAR 0 of 0000:14:00\.0 cannot be exported: its 512 B are less than a page of \d+ KiB/);
    assert.match(text('bar'), /BAR 1 of 0000:14:00\.0 is resizable: 256 MiB can be exported now, and up to 128 GiB/);
  });

  it('knows the entries that the command line has, because Linux uses only one list', () => {
    const line = 'quiet pci=disable_acs_redir=0000:10:01.0/00.0/01.0;ff:00.0';
    const { kernelParameter } = read(hosts['gpu-server-acs'], line).advise(['13:00.0', '15:00.0']);
    assert.equal(
      kernelParameter,
      'pci=disable_acs_redir=0000:10:01.0/00.0/01.0;0000:10:01.0/00.0/00.0;0000:10:01.0/00.0/02.0',
    );
  });

  describe('the kernel’s command line', () => {
    const mistakes = (line: string, name = 'gpu-server') =>
      read(hosts[name], line)
        .commandLineMistakes()
        .map(({ option, text }) => `${option}: ${text}`);

    it('without a mistake', () => {
      const good = [
        'BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet intel_iommu=on,sm_on iommu=pt',
        'pci=nomsi,realloc=on,pcie_bus_peer2peer',
        'amd_iommu=force_isolation,fullflush',
        '"pci=disable_acs_redir=0000:12:00.0;10:01.0/00.0/01.0"',
        'pci="disable_acs_redir=12:0.0;pci:1000:c030"',
        'pci=config_acs=xx0x0x@12:00.0;1x0x0@12:01.0',
      ];
      for (const line of good) assert.deepEqual(mistakes(line), [], line);
      assert.deepEqual(read(hosts['laptop']).commandLineMistakes(), []);
    });

    const rows: [line: string, ...expected: RegExp[]][] = [
      ['pci=disable_acs_redir=12:00.0,12:01.0', /^12:01\.0: .*separates devices by ';'/],
      ['pci=disable_acs_redir=12:00.0,pci:1000:c030', /^pci:1000:c030: .*separates devices by ';'/],
      ['pci=noacs', /^noacs: Linux has no such option of pci=/],
      ['pci=acs_off,nomsi', /^acs_off: Linux has no such option/],
      ['pcie_acs_override=downstream,multifunction', /^pcie_acs_override=.*: only patched kernels have it/],
      ['disable_acs_redir=12:00.0', /^disable_acs_redir=12:00\.0: .*write pci=disable_acs_redir=12:00\.0/],
      ['pcie_acs=off', /^pcie_acs=off: Linux has no such option/],
      ['amd_iommu=on', /^amd_iommu=on: amd_iommu has no value 'on'/],
      ['intel_iommu=pt', /^intel_iommu=pt: intel_iommu has no value 'pt'/],
      ['iommu=on', /^iommu=on: iommu has no value 'on'/],
      ['pci=disable_acs_redir=ff:00.0', /^ff:00\.0: no device of this host matches/],
      ['pci=disable_acs_redir=10:01.0/00.0/09.0', /^10:01\.0\/00\.0\/09\.0: no device/],
      ['pci=disable_acs_redir=0001:12:00.0', /^0001:12:00\.0: no device/],
      ['pci=disable_acs_redir=11:00.0', /^11:00\.0: it has no Access Control Services/],
      ['pci=disable_acs_redir=12:00;12:01.0', /^12:00: Linux cannot parse it, and ignores it, and the 1 behind it$/],
      ['pci=disable_acs_redir=all', /^all: Linux cannot parse it, and ignores it$/],
      [
        'pci=disable_acs_redir=12:00.0 pci=disable_acs_redir=12:01.0',
        /^disable_acs_redir=12:00\.0: Linux uses only the last/,
      ],
      ['pci=config_acs=12:00.0', /^12:00\.0: Linux cannot parse it/],
      ['pci=config_acs=101@ff:00.0', /^101@ff:00\.0: no device/],
    ];
    for (const [line, ...expected] of rows) {
      it(line, () => {
        const found = mistakes(line);
        assert.equal(found.length, expected.length, found.join('\n'));
        for (const [i, pattern] of expected.entries()) assert.match(found[i] ?? '', pattern);
      });
    }

    it('a port that redirects although the line names it', () => {
      assert.match(
        mistakes('pci=disable_acs_redir=12:00.0', 'gpu-server-acs')[0] ?? '',
        /0000:12:00\.0 redirects all the same/,
      );
    });
  });
});
