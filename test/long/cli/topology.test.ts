// vfio-dmabuf devices and topology, on recorded or described hosts and on the fake machine.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { PciTopology } from '../../../lib';
import { toBranches } from '../../../lib/cli/branches';
import { matrixLines } from '../../../lib/cli/matrix';
import { characterWidth, layOut, type Picture, type Rectangle } from '../../../lib/cli/picture';
import { toSvg } from '../../../lib/cli/svg';
import { treeLines } from '../../../lib/cli/tree';
import { acs, ports, writeHost, type Host, type HostFunction } from '../../hosts/host';
import { hostNames, writeNamed } from '../../hosts/hosts';
import { largeHost } from '../../hosts/large';
import { itNeeds, sed } from '../../needs';
import { typescript } from '../../typescript';

const checkout = resolve(__dirname, '../../..');

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const command = [...typescript, join(checkout, 'lib/cli/main.ts'), ...args];
  const env = { ...process.env, VFIO_DMABUF_KERNEL: 'fake' };
  return spawnSync(process.execPath, command, { cwd: checkout, encoding: 'utf8', env });
}

const told = (...args: string[]): unknown => JSON.parse(run(...args, '--json').stdout);

/** Eight switches with eight devices each; half of their ports redirect. */
function many(): Host {
  const hex = (number: number) => number.toString(16).padStart(2, '0');
  const bridge = (at: string, port: number, behind: HostFunction[]): HostFunction => ({
    ...{ at, vendor: 0x1000, device: 0xc030, classCode: 0x060400, port, behind },
  });
  return {
    cpu: { vendor: 'GenuineIntel', family: 6 },
    hostBridges: Array.from({ length: 8 }, (_, i) => {
      const bus = 0x20 * i;
      const downstream = Array.from({ length: 8 }, (_unused, j) => ({
        ...bridge(`${hex(bus + 2)}:${hex(j)}.0`, ports.downstream, [
          {
            ...{ at: `${hex(bus + 3 + j)}:00.0`, vendor: 0x15b3, device: 0x1021, classCode: 0x020700 },
            ...{ port: ports.endpoint, link: { speed: 32, width: 16 } },
          },
        ]),
        acs: i >= 4 && j >= 4 ? acs.isolating : acs.plain,
      }));
      const upstream = bridge(`${hex(bus + 1)}:00.0`, ports.upstream, downstream);
      return { bus: `0000:${hex(bus)}`, functions: [bridge(`${hex(bus)}:01.0`, ports.rootPort, [upstream])] };
    }),
  };
}

const overlap = (a: Rectangle, b: Rectangle): boolean =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

/** The lines of the picture as thin rectangles, each with the boxes that it may touch. */
function linesOf({ trunks }: Picture): Rectangle[] {
  return trunks.flatMap(({ from, x, to }) => {
    const ys = [from.y, ...to.map(({ y }) => y)];
    const top = Math.min(...ys);
    return [
      { x: from.x, y: from.y, width: x - from.x, height: 0.1 },
      { x, y: top, width: 0.1, height: Math.max(...ys) - top },
      ...to.map((end) => ({ x, y: end.y, width: end.x - x, height: 0.1 })),
    ];
  });
}

/** Asserts that every tag is closed in the right order, and that text has no unescaped markup. */
function assertWellFormed(svg: string): void {
  const open: string[] = [];
  for (const [, close, name, empty] of svg.matchAll(/<(\/?)([a-z]+)(?: [a-zA-Z-]+="[^"<]*")*(\/?)>/g)) {
    if (close === '/') assert.equal(open.pop(), name);
    else if (empty !== '/') open.push(name ?? '');
  }
  assert.deepEqual(open, []);
  const rest = svg.replaceAll(/<\/?[a-z]+(?: [a-zA-Z-]+="[^"<]*")*\/?>/g, '');
  assert.doesNotMatch(rest, /[<>]|&(?!(?:amp|lt|gt|quot);)/);
}

describe('vfio-dmabuf devices and topology', function () {
  this.timeout(120_000);

  let folder: string;
  const roots = new Map<string, string>();
  const root = (name: string, host?: Host): string => {
    const known = roots.get(name);
    if (known !== undefined) return known;
    const at = join(folder, name);
    if (host) writeHost(at, host);
    else writeNamed(at, name);
    roots.set(name, at);
    return at;
  };
  const read = (name: string, host?: Host) => PciTopology.read({ sysfs: join(root(name, host), 'sys') });

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-cli-'));
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('devices: what is there, as JSON', () => {
    const devices = told('devices', '--root', root('gpu-server')) as Record<string, unknown>[];
    assert.equal(devices.length, 16);
    assert.deepEqual(devices[0], {
      ...{
        address: '0000:13:00.0',
        name: 'NVIDIA 3D controller',
        vendor: '0x10de',
        device: '0x2330',
        class: '0x030200',
      },
      ...{ driver: 'nvidia', cdev: null, iommuGroup: 20, numaNode: 0 },
      ...{ model: null, physicalFunction: null, slot: null, serialNumber: null, gaps: [] },
      link: { speed: 32, width: 16, maxSpeed: 32, maxWidth: 16, bandwidth: (32 * 16 * 128) / 130 / 8 },
      bars: [
        {
          ...{ index: 0, kind: 'memory', start: '0x4000000000', size: '0x1000000', prefetchable: false, wide: false },
          ...{ sizes: [], use: null },
        },
        {
          ...{ index: 1, kind: 'memory', start: '0x6000000000', size: '0x2000000000', prefetchable: true, wide: true },
          sizes: Array.from({ length: 12 }, (_, i) => `0x${(1n << BigInt(26 + i)).toString(16)}`),
          use: 'video-memory',
        },
      ],
    });
    const all = told('devices', '--all', '--root', root('gpu-server')) as unknown[];
    assert.equal(all.length, 16 + 4 * 6);
  });

  it('devices: on the fake machine, in words', () => {
    const { status, stdout, stderr } = run('devices');
    assert.equal(status, 0, stderr);
    const lines = stdout.split('\n');
    assert.equal(lines[0], 'address  device                 driver    group  node  VFIO, link, memory');
    assert.equal(
      lines[1],
      '01:00.0  Red Hat NVMe           vfio-pci  1      -     /dev/vfio/devices/vfio0, 2.5 GT/s x1, BAR 0 16 KiB, BAR 2 16 MiB (CMB?)',
    );
    assert(!stdout.includes('00:01.0'));
  });

  it('topology: the tree, in words', () => {
    const { status, stdout } = run('topology', '--root', root('laptop'));
    assert.equal(status, 0);
    assert.equal(
      stdout,
      `host
└─ pci0000:00 [through the host bridge]
   ├─ 00:00.0  AMD host bridge, group 0
   ├─ 00:02.1  AMD root port, group 1, ACS redirects
   │  └─ 01:00.0  Samsung NVMe, nvme, group 4, 8 GT/s x4
   ├─ 00:02.2  AMD root port, group 2, ACS redirects
   │  └─ 02:00.0  MediaTek network, mt7921e, group 5, 5 GT/s x1
   └─ 00:08.1  AMD root port, group 3, ACS redirects
      └─ 03:00.0  AMD VGA display, amdgpu, group 6, 16 GT/s x16
`,
    );
  });

  it('topology: the tree as JSON', () => {
    const { cpu, hostBridges } = told('topology', '--root', root('gpu-server-acs')) as {
      cpu: unknown;
      hostBridges: { name: string; functions: Record<string, unknown>[] }[];
    };
    assert.deepEqual(cpu, { vendor: 'GenuineIntel', family: 6 });
    assert.deepEqual(
      hostBridges.map(({ name, functions }) => [name, functions.length]),
      ['10', '30', '50', '70'].map((bus) => [`pci0000:${bus}`, 1]),
    );
    const { children, link, ...port } = hostBridges[0]?.functions[0] ?? {};
    assert.equal((children as unknown[]).length, 1);
    assert.notEqual(link, null);
    assert.deepEqual(port, {
      ...{ address: '0000:10:01.0', name: 'Intel root port', vendor: '0x8086', device: '0x352a', class: '0x060400' },
      ...{ driver: 'pcieport', cdev: null, iommuGroup: 19, numaNode: 0, port: 'root-port' },
      ...{ model: null, physicalFunction: null, slot: null, serialNumber: null, gaps: [] },
      acs: { state: 'present', redirects: true },
    });
  });

  it('topology of two: what decided, and the command that makes it better', () => {
    const { status, stdout } = run('topology', '13:00.0', '14:00.0', '--root', root('gpu-server-acs'));
    assert.equal(status, 1);
    assert.match(stdout, /^verdict {4}not supported$/m);
    assert.match(stdout, /^ {11}12:00\.0 {2}Broadcom downstream port, redirects to the host bridge$/m);
    assert.match(stdout, /^bandwidth {2}at most 63\.0 GB\/s one way/m);
    assert.match(stdout, /^ {2}vfio-dmabuf bind 13:00\.0 14:00\.0$/m);
  });

  itNeeds([sed], 'topology of two: what its command makes of GRUB’s file', () => {
    const { stdout } = run('topology', '13:00.0', '14:00.0', '--root', root('gpu-server-acs'));
    const [command = ''] = /^ {2}sed .*$/m.exec(stdout) ?? [];
    const edited = spawnSync('/bin/sh', ['-c', command.replace('-i ', '').replace('/etc/default/grub', '')], {
      input: 'GRUB_CMDLINE_LINUX="quiet"\n',
      encoding: 'utf8',
    });
    assert.equal(edited.stdout, 'GRUB_CMDLINE_LINUX="\\"pci=disable_acs_redir=0000:12:00.0;0000:12:01.0\\" quiet"\n');
  });

  itNeeds([sed], 'topology --advise: what its command makes of GRUB’s file', () => {
    const { stdout } = run('topology', '--advise', '13:00.0', '15:00.0', '--root', root('gpu-server-acs'));
    const [command = ''] = /^ {2}sed .*$/m.exec(stdout) ?? [];
    const edited = spawnSync('/bin/sh', ['-c', command.replace('-i ', '').replace('/etc/default/grub', '')], {
      input: 'GRUB_CMDLINE_LINUX="quiet"\n',
      encoding: 'utf8',
    });
    const path = '0000:10:01.0/00.0/0';
    const line = `GRUB_CMDLINE_LINUX="\\"pci=disable_acs_redir=${path}0.0;${path}2.0\\" quiet"\n`;
    assert.equal(edited.stdout, line, edited.stderr);
  });

  it('topology of two: no command binds what VFIO cannot use', () => {
    const at = root('gpu-server-acs');
    const config = join(at, 'sys/bus/pci/devices/0000:13:00.0/config');
    const before = readFileSync(config);
    writeFileSync(config, Buffer.alloc(4096, 0xff));
    const { stdout } = run('topology', '13:00.0', '14:00.0', '--root', at);
    writeFileSync(config, before);
    assert.match(stdout, /^ {2}vfio-dmabuf bind 14:00\.0$/m);
    assert.match(stdout, /0000:13:00\.0: the device does not answer/);
  });

  it('topology of two: the parameter has the devices that the command line names', () => {
    const at = root('gpu-server-acs');
    writeFileSync(join(at, 'proc/cmdline'), 'quiet pci=disable_acs_redir=12:03.0;ff:00.0\n');
    const { stdout } = run('topology', '13:00.0', '14:00.0', '--root', at);
    rmSync(join(at, 'proc/cmdline'));
    assert.match(stdout, /pci=disable_acs_redir=12:03\.0;0000:12:00\.0;0000:12:01\.0/);
    assert.match(stdout, /^Put it in the place of the present/m);
    assert.doesNotMatch(stdout, /^ {2}sed/m);
  });

  it('topology of two: as JSON, and the exit codes', () => {
    assert.deepEqual(told('topology', '13:00.0', '14:00.0', '--root', root('gpu-server')), {
      ...{ from: '0000:13:00.0', to: '0000:14:00.0', verdict: 'direct' },
      reason: '0000:11:00.0 is above both, and no Access Control Services on the way redirect',
      ...{ distance: 4, common: '0000:11:00.0' },
      hops: ['0000:13:00.0', '0000:12:00.0', '0000:11:00.0', '0000:12:01.0', '0000:14:00.0'],
      ...{ redirects: [], unreadable: [], bandwidth: (32 * 16 * 128) / 130 / 8, slowest: '0000:13:00.0', advice: [] },
      sharedIoas: {
        possible: false,
        objections: [
          { device: '0000:13:00.0', text: '0000:13:00.0 is bound to nvidia, not to vfio-pci' },
          { device: '0000:14:00.0', text: '0000:14:00.0 is bound to nvidia, not to vfio-pci' },
          { device: '0000:15:00.0', text: 'IOMMU group 20 is not viable: driver mlx5_core has 0000:15:00.0 of it' },
          { device: '0000:16:00.0', text: 'IOMMU group 20 is not viable: driver mlx5_core has 0000:16:00.0 of it' },
        ],
        windows: [
          { start: '0x0', last: '0xfedfffff' },
          { start: '0xfef00000', last: '0xffffffffffffffff' },
        ],
      },
    });
    const code = (name: string, ...args: string[]) => run('topology', ...args, '--root', root(name)).status;
    assert.equal(code('gpu-server', '13:00.0', '14:00.0'), 0);
    assert.equal(code('laptop', '01:00.0', '03:00.0'), 0);
    assert.equal(code('gpu-server', '13:00.0', '33:00.0'), 1);
    assert.equal(code('gpu-server', '13:00.0', 'ff:00.0'), 1);
    assert.equal(code('gpu-server', '13:00.0'), 2);
    const fake = run('topology', '01:00.0', '02:00.0');
    assert.equal(fake.status, 1);
    assert.match(fake.stdout, /trusts neither AuthenticAMD family 15 nor the host bridge pci0000:00 \(8086:29c0\)$/m);
    assert.match(fake.stdout, /^IOMMUFD {4}yes: both can be attached/m);
  });

  it('topology --matrix: as JSON, and in 80 columns', () => {
    const { devices, verdicts } = told('topology', '--matrix', '--root', root('two-sockets')) as {
      devices: string[];
      verdicts: string[][];
    };
    assert.deepEqual(devices, ['0000:18:00.0', '0000:19:00.0', '0000:af:00.0', '0000:b0:00.0']);
    assert.deepEqual(
      verdicts.map((row) => row.length),
      [4, 4, 4, 4],
    );
    assert.equal(verdicts[0]?.[2], read('two-sockets').p2pPath('18:00.0', 'af:00.0').verdict);
    const lines = matrixLines(read('gpu-server').p2pMatrix());
    assert.equal(lines.length, 1 + 16 + 2);
    for (const line of lines) assert(line.length <= 80, line);
    assert.equal(lines[3], '  3 15:00.0 Mellanox InfiniBand   D  D  ·  D  x  x  x  x  x  x  x  x  x  x  x  x');
    const chosen = run('topology', '--matrix', '13:00.0', '14:00.0', '33:00.0', '--root', root('gpu-server'));
    assert.equal(chosen.stdout.split('\n')[1], '  1 13:00.0 NVIDIA 3D controller  ·  D  x');
  });

  it('topology: functions of the host itself only with --all', () => {
    const host: Host = {
      cpu: { vendor: 'GenuineIntel', family: 6 },
      hostBridges: [
        {
          bus: '0000:00',
          functions: [
            { at: '00:00.0', vendor: 0x8086, device: 0x2020, classCode: 0x060000 },
            { at: '00:05.0', vendor: 0x8086, device: 0x2024, classCode: 0x088000 },
            { at: '00:08.0', vendor: 0x8086, device: 0x2014, classCode: 0x110100, bars: [{ size: 4096 }] },
            { at: '00:0a.0', vendor: 0x8086, device: 0x0b25, classCode: 0x088000, bars: [{ size: 65536 }] },
            { at: '00:1f.4', vendor: 0x8086, device: 0xa1a3, classCode: 0x0c0500, bars: [{ size: 256 }] },
            { at: '00:03.0', vendor: 0x10de, device: 0x22a3, classCode: 0x068000, bars: [{ size: 4096 }] },
          ],
        },
      ],
    };
    const at = root('noise', host);
    const devices = (...args: string[]) => (told('devices', '--root', at, ...args) as { address: string }[]).length;
    assert.deepEqual([devices(), devices('--all')], [2, 6]);
    const lines = (...args: string[]) =>
      run('topology', '--root', at, ...args)
        .stdout.trim()
        .split('\n').length;
    assert.deepEqual([lines(), lines('--all')], [5, 8]); // the host, its bridge, and the function that identifies that
    const matrix = told('topology', '--matrix', '--root', at) as { devices: string[] };
    assert.deepEqual(matrix.devices, ['0000:00:03.0', '0000:00:0a.0']);
  });

  it('filters by class, driver and address', () => {
    const at = root('gpu-server');
    const devices = (...args: string[]) =>
      (told('devices', '--root', at, ...args) as { address: string }[]).map(({ address }) => address.slice(5));
    assert.equal(devices('--class', '0302').length, 8);
    assert.equal(devices('--class', '02', '0302').length, 16);
    assert.deepEqual(devices('1*:00.0', '--class', 'infiniband'), ['15:00.0', '16:00.0']);
    assert.equal(devices('--driver', 'nvidia').length, 8);
    assert.equal(run('devices', '--driver', 'none', '--root', at).status, 1);
    assert.deepEqual(devices('13:00.0', '33:*'), ['13:00.0', '33:00.0']);
    const tree = run('topology', '--driver', 'nvidia', '--root', at).stdout;
    assert(tree.includes('13:00.0') && !tree.includes('15:00.0'));
    const { devices: paired } = told('topology', '--matrix', '5*', '--root', at) as { devices: string[] };
    assert.equal(paired.length, 4);
  });

  it('marks virtual functions, slots, serial numbers, and what was not seen', () => {
    const end = (at: string, more: Partial<HostFunction> = {}): HostFunction => ({
      ...{ at, vendor: 0x15b3, device: 0x101e, classCode: 0x020000, port: ports.endpoint },
      ...more,
    });
    const host: Host = {
      cpu: { vendor: 'GenuineIntel', family: 6 },
      hostBridges: [
        {
          bus: '0000:00',
          functions: [
            {
              ...{ at: '00:01.0', vendor: 0x8086, device: 1, classCode: 0x060400, port: ports.rootPort },
              behind: [
                end('01:00.0', { serial: 0x1122n }),
                end('01:00.1', { physical: '0000:01:00.0' }),
                end('01:00.2', { files: { power_state: 'D3cold\n' } }),
              ],
            },
          ],
        },
      ],
      slots: { 'riser 2': '0000:01:00' },
    };
    const at = root('marks', host);
    for (const command of [['devices'], ['topology'], ['topology', '--matrix'], ['topology', '01:00.1', '01:00.0']]) {
      assert.match(run(...command, '--root', at).stdout, /virtual function of 01:00\.0/, command.join(' '));
    }
    const { stdout } = run('devices', '--root', at);
    assert.match(stdout, /^01:00\.0 .*slot riser 2, serial 00-00-00-00-00-00-11-22$/m);
    assert.match(stdout, /^01:00\.2 .*NOT KNOWN: it has no power \(D3cold\)/m);
    const [physical, virtual, dead] = told('devices', '--root', at) as Record<string, unknown>[];
    assert.deepEqual(
      [physical?.['serialNumber'], physical?.['slot'], virtual?.['physicalFunction'], dead?.['gaps']],
      [
        '00-00-00-00-00-00-11-22',
        'riser 2',
        '0000:01:00.0',
        [{ what: 'response', text: 'it has no power (D3cold); "on" in its power/control of sysfs may wake it' }],
      ],
    );
    rmSync(join(at, 'sys/bus/pci/devices/0000:00:01.0'));
    const { stdout: tree } = run('topology', '--root', at);
    assert.match(tree, /00:01\.0 {2}not seen: it is not in bus\/pci\/devices/);
    assert.match(tree, /^not seen of +because\n00:01\.0 +it is not in .*\n01:00\.2 +it has no power \(D3cold\);.*$/m);
  });

  it('names models as pci.ids does', () => {
    const ids = join(folder, 'pci.ids');
    writeFileSync(
      ids,
      '# comment\n10de  NVIDIA Corporation\n\t2330  GH100 [H100 SXM5 80GB]\n\t\t10de 16c1  Board\n' +
        '15b3  Mellanox Technologies\n# comment\n\t1021  MT2910 Family [ConnectX-7]\nC 01  Mass storage controller\n',
    );
    const command = [
      ...typescript,
      join(checkout, 'lib/cli/main.ts'),
      'devices',
      '--json',
      '--root',
      root('gpu-server'),
    ];
    const env = { ...process.env, VFIO_DMABUF_PCI_IDS: ids };
    const { stdout } = spawnSync(process.execPath, command, { cwd: checkout, encoding: 'utf8', env });
    const models = (JSON.parse(stdout) as { model: string }[]).map(({ model }) => model);
    assert.deepEqual(models.slice(0, 4), ['H100 SXM5 80GB', 'H100 SXM5 80GB', 'ConnectX-7', 'ConnectX-7']);
  });

  it('topology --advise: the parameter, the IOMMU groups, what it gives up, and mistakes', () => {
    const at = root('gpu-server-acs');
    const { status, stdout } = run('topology', '--advise', '13:00.0', '15:00.0', '--root', at);
    assert.equal(status, 1);
    assert.match(stdout, /^parameter +pci=disable_acs_redir=0000:10:01\.0\/00\.0\/00\.0;0000:10:01\.0\/00\.0\/02\.0$/m);
    assert.match(stdout, /^gives up +isolation/m);
    assert.match(stdout, /^IOMMU +groups 22 \+ 23 merge: 12:00\.0, 13:00\.0$/m);
    assert.match(stdout, /^ {2}sed .*disable_acs_redir/m);
    writeFileSync(join(at, 'proc/cmdline'), 'quiet pci=disable_acs_redir=12:03.0,ff:00.0\n');
    const again = run('topology', '--advise', '13:00.0', '15:00.0', '--root', at).stdout;
    assert.match(again, /^parameter +pci=disable_acs_redir=12:03\.0;0000:10/m);
    assert.match(again, /^Put it in the place of the present/m);
    assert.doesNotMatch(again, /^ {2}sed/m);
    assert.match(again, /^ff:00\.0 .*separates devices by ';'/m);
    assert.match(run('topology', '--root', at).stdout, /^command line +mistake$/m);
    const json = told('topology', '--advise', '13:00.0', '33:00.0', '--root', at) as Record<string, unknown>;
    assert.deepEqual(json['ports'], []);
    assert.equal((json['indirect'] as unknown[]).length, 1);
    assert.equal(run('topology', '--advise', '13:00.0', '14:00.0', '--root', root('gpu-server')).status, 0);
    rmSync(join(at, 'proc/cmdline'));
  });

  it('where verdicts differ, the tree has each', () => {
    const topology = read('many', many());
    const lines = treeLines(toBranches(topology, topology.p2pMatrix()));
    assert(lines.some((line) => line.endsWith('81:00.0  Broadcom upstream port [direct | not supported]')));
    assert(lines.some((line) => line.endsWith('01:00.0  Broadcom upstream port [direct]')));
  });

  describe('topology --svg', () => {
    const picture = (topology: PciTopology): Picture => {
      const matrix = topology.p2pMatrix();
      return layOut(topology, toBranches(topology, matrix), matrix);
    };
    for (const name of [...hostNames, 'many']) {
      it(`${name}: nothing overlaps, and texts fit`, () => {
        const topology = read(name, name === 'many' ? many() : undefined);
        const drawn = picture(topology);
        const devices = topology.p2pMatrix().devices.length;
        if (name === 'many') assert.equal(devices, 64);
        assert.equal(drawn.boxes.filter(({ kind }) => kind === 'device').length, devices);
        assert.equal(drawn.cells.length, devices * (devices - 1));
        const all: Rectangle[] = [...drawn.boxes, ...drawn.cells, ...drawn.legend];
        for (const [i, one] of all.entries()) {
          assert(one.x >= 0 && one.y >= 0 && one.x + one.width <= drawn.width && one.y + one.height <= drawn.height);
          // There are thousands of cells, so each is compared with its neighbours only.
          const others = i < drawn.boxes.length ? all : all.slice(i, i + devices);
          for (const other of others) assert(one === other || !overlap(one, other), JSON.stringify([one, other]));
        }
        for (const line of linesOf(drawn)) {
          for (const box of drawn.boxes) assert(!overlap(line, box), JSON.stringify([line, box]));
        }
        for (const { text, detail, width } of drawn.boxes) {
          assert((text.length + (detail?.length ?? 0)) * characterWidth < width, text);
        }
        assertWellFormed(toSvg(drawn));
      });
    }

    for (const [devices, odd, most] of [
      [512, false, 60_000],
      [512, true, 250_000],
      [2048, false, 60_000],
    ] as const) {
      it(`${String(devices)} devices${odd ? ' in odd places' : ''}: few rows, and a small file`, function () {
        this.timeout(120_000);
        const name = `large-${String(devices)}-${String(odd)}`;
        const topology = read(name, largeHost(devices / 16, { odd }));
        const matrix = topology.p2pMatrix(
          [...topology.functions.values()].filter(({ link, children }) => link && children.length === 0),
        );
        assert.equal(matrix.devices.length, devices);
        const drawn = layOut(topology, toBranches(topology, matrix), matrix);
        const rows = drawn.boxes.filter(({ kind }) => kind === 'device').length;
        assert(rows <= 64, String(rows));
        const shown = new Set(drawn.boxes.filter(({ kind }) => kind === 'device').map(({ y }) => y));
        assert.equal(shown.size, rows);
        for (const [i, box] of drawn.boxes.entries()) {
          for (const other of drawn.boxes.slice(i + 1)) assert(!overlap(box, other), JSON.stringify([box, other]));
          assert((box.text.length + (box.detail?.length ?? 0)) * characterWidth < box.width, box.text);
        }
        const svg = toSvg(drawn);
        assert(svg.length < most, String(svg.length));
        assertWellFormed(svg);
        assert(svg.includes(`${String(devices)} PCI devices`));
        // Groups of devices with the same verdicts stand for all pairs.
        const groups = matrix.groups();
        assert(groups.length <= devices / 16);
        const groupOf = new Map(groups.flatMap((group) => group.devices.map((device) => [device, group] as const)));
        for (let k = 0; k < 5000; k += 1) {
          const [i, j] = [(k * 7919) % devices, (k * 104_729 + 13) % devices];
          const [a, b] = [groupOf.get(i), groupOf.get(j)];
          if (i === j || !a || !b) continue;
          const told = a === b ? a.within : matrix.verdict(a.devices[0] ?? 0, b.devices[0] ?? 0);
          assert.equal(told, matrix.verdict(i, j));
        }
        const lines = matrixLines(matrix);
        assert(lines.length < 140, String(lines.length));
        const numbers = (lines[0] ?? '').trim().split(/ +/);
        assert.deepEqual(
          numbers,
          numbers.map((_, i) => String(i + 1)),
        );
      });
    }

    it('128 virtual functions: one row for those of each physical function', () => {
      const port = (index: number): HostFunction => {
        const bus = `0${String(index + 1)}`;
        const nic = { vendor: 0x15b3, device: 0x101d, classCode: 0x020000, port: ports.endpoint };
        const behind = Array.from({ length: 65 }, (_, i): HostFunction => {
          const at = `${bus}:${(i >> 3).toString(16).padStart(2, '0')}.${String(i & 7)}`;
          return i === 0 ? { ...nic, at } : { ...nic, at, device: 0x101e, physical: `0000:${bus}:00.0` };
        });
        return {
          at: `00:0${String(index + 1)}.0`,
          vendor: 0x8086,
          device: 1,
          classCode: 0x060400,
          port: ports.rootPort,
          behind,
        };
      };
      const host = { bus: '0000:00', functions: [port(0), port(1)] };
      const topology = read('virtual-functions', { cpu: { vendor: 'GenuineIntel', family: 6 }, hostBridges: [host] });
      const drawn = picture(topology);
      assert(drawn.title.startsWith('130 PCI devices'));
      const texts = drawn.boxes.filter(({ kind }) => kind === 'device').map(({ text }) => text);
      assert.deepEqual(texts.length, 2);
      assert.match(texts[1] ?? '', /128 × Mellanox Ethernet, virtual function$/);
    });

    it('--matrix --json of many devices: groups, and not every pair', () => {
      const { devices, verdicts, groups, between } = told(
        'topology',
        '--matrix',
        '--root',
        root('large-512-false', largeHost(32)),
      ) as {
        devices: string[];
        verdicts: null;
        groups: { devices: string[]; within: string | null }[];
        between: string[][];
      };
      assert.equal(devices.length, 512);
      assert.equal(verdicts, null);
      assert.deepEqual(groups.flatMap((group) => group.devices).sort(), [...devices].sort());
      assert.deepEqual([between.length, between[0]?.length], [groups.length, groups.length]);
      const few = told('topology', '--matrix', '--root', root('gpu-server')) as typeof told & {
        verdicts: string[][];
        groups: { devices: string[]; within: string }[];
      };
      assert.equal(few.verdicts.length, 16);
      assert.deepEqual(
        few.groups.map((group) => [group.devices.length, group.within]),
        Array(4).fill([4, 'direct']),
      );
    });

    it('writes the file, of the devices that are named', () => {
      const file = join(folder, 'host.svg');
      const { status, stdout } = run('topology', '13:00.0', '33:00.0', '--svg', file, '--root', root('gpu-server'));
      assert.equal(status, 0);
      assert.equal(stdout, `${file}: 2 devices\n`);
      const svg = readFileSync(file, 'utf8');
      assertWellFormed(svg);
      assert(svg.includes('13:00.0') && svg.includes('33:00.0') && !svg.includes('14:00.0'));
    });
  });
});
