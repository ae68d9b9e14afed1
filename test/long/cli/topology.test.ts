// vfio-dmabuf devices and topology, on recorded or described hosts and on the fake machine.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
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
  this.timeout(30_000);

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
