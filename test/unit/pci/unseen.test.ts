// What was not seen of a host is unknown: devices that do not respond, copies of sysfs with parts missing, and users who
// may not read. What is certain without it is decided.
import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PciTopology } from '../../../lib';
import { acs, ports, writeHost, type Host, type HostFunction } from '../../hosts/host';

const endpoint = (at: string, more: Partial<HostFunction> = {}): HostFunction => ({
  ...{ at, vendor: 0x10de, device: 0x2330, classCode: 0x030200, port: ports.endpoint },
  ...more,
});
const bridge = (at: string, port: number, behind: HostFunction[], more: Partial<HostFunction> = {}): HostFunction => ({
  ...{ at, vendor: 0x8086, device: 0x1234, classCode: 0x060400, port, driver: 'pcieport', behind },
  ...more,
});

/** A root port with a switch of three devices, and a root port with a device. */
const switched = (control: number = acs.plain, more: Partial<Host> = {}): Host => ({
  cpu: { vendor: 'GenuineIntel', family: 6 },
  hostBridges: [
    {
      bus: '0000:00',
      functions: [
        { at: '00:00.0', vendor: 0x8086, device: 0x29c0, classCode: 0x060000 },
        bridge('00:01.0', ports.rootPort, [
          bridge(
            '01:00.0',
            ports.upstream,
            ['0', '1', '2'].map((i) =>
              bridge(`02:0${i}.0`, ports.downstream, [endpoint(`0${String(Number(i) + 3)}:00.0`)], { acs: control }),
            ),
          ),
        ]),
        bridge('00:02.0', ports.rootPort, [endpoint('06:00.0')]),
      ],
    },
  ],
  ...more,
});

/** Copies a tree, with the targets of links in their place. fs.cpSync() follows links differently from Node 22 on. */
function copyFollowing(from: string, to: string): void {
  if (!statSync(from).isDirectory()) {
    copyFileSync(from, to);
    return;
  }
  mkdirSync(to);
  for (const name of readdirSync(from)) copyFollowing(join(from, name), join(to, name));
}

describe('what was not seen of a host', () => {
  let folder: string;
  let count = 0;
  const write = (host: Host): string => writeHost(join(folder, String((count += 1))), host);
  const read = (sysfs: string) => PciTopology.read({ sysfs });
  const entry = (sysfs: string, address: string) => join(sysfs, 'bus/pci/devices', `0000:${address}`);

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-unseen-'));
  });
  after(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('nothing: the verdicts are direct and not supported', () => {
    const topology = read(write(switched()));
    assert.equal(topology.p2pPath('03:00.0', '04:00.0').verdict, 'direct');
    assert.equal(topology.p2pPath('03:00.0', '06:00.0').verdict, 'unsupported');
    assert.equal(topology.unseen.size, 0);
    for (const { gaps } of topology.functions.values()) assert.deepEqual(gaps, []);
  });

  describe('a device that does not respond', () => {
    const deaths: [string, (sysfs: string, address: string) => void, RegExp][] = [
      [
        'config space reads as all ones',
        (sysfs, address) => writeFileSync(join(entry(sysfs, address), 'config'), Buffer.alloc(4096, 0xff)),
        /03:00\.0: it does not respond: .* all ones/,
      ],
      [
        'the header reads as all ones, for a user who sees no more',
        (sysfs, address) => writeFileSync(join(entry(sysfs, address), 'config'), Buffer.alloc(64, 0xff)),
        /all ones/,
      ],
      [
        'D3cold',
        (sysfs, address) => writeFileSync(join(entry(sysfs, address), 'power_state'), 'D3cold\n'),
        /03:00\.0: it has no power \(D3cold\)/,
      ],
    ];
    for (const [title, kill, why] of deaths) {
      it(`${title}: unknown, and why`, () => {
        const sysfs = write(switched());
        kill(sysfs, '03:00.0');
        const topology = read(sysfs);
        for (const other of ['04:00.0', '06:00.0']) {
          const { verdict, reason } = topology.p2pPath('03:00.0', other);
          assert.equal(verdict, 'unknown', reason);
          assert.match(reason, why);
        }
        assert.equal(topology.p2pPath('04:00.0', '05:00.0').verdict, 'direct');
        const dead = topology.find('03:00.0');
        assert.deepEqual([dead.acs.state, dead.gaps[0]?.what], ['unreadable', 'response']);
        const matrix = topology.p2pMatrix(['03:00.0', '04:00.0', '05:00.0']);
        assert.deepEqual([matrix.verdict(0, 1), matrix.verdict(1, 2)], ['unknown', 'direct']);
      });
    }

    it('a bridge: nothing below it is reached, not even through the host', () => {
      const amd = { vendor: 'AuthenticAMD', family: 25 };
      const sysfs = write(switched(acs.isolating, { cpu: amd }));
      assert.equal(read(sysfs).p2pPath('03:00.0', '06:00.0').verdict, 'host-bridge');
      assert.equal(read(sysfs).p2pPath('03:00.0', '04:00.0').verdict, 'host-bridge');
      writeFileSync(join(entry(sysfs, '02:00.0'), 'config'), Buffer.alloc(4096, 0xff));
      for (const other of ['04:00.0', '06:00.0']) {
        const { verdict, reason } = read(sysfs).p2pPath('03:00.0', other);
        assert.equal(verdict, 'unknown');
        assert.match(reason, /0000:02:00\.0: it does not respond/);
      }
      assert.equal(read(sysfs).p2pPath('04:00.0', '06:00.0').verdict, 'host-bridge');
    });

    it('cannot share an I/O address space', () => {
      const sysfs = write(switched());
      writeFileSync(join(entry(sysfs, '03:00.0'), 'config'), Buffer.alloc(4096, 0xff));
      const { objections } = read(sysfs).sharedIoas(['03:00.0', '04:00.0']);
      assert.match(objections[0]?.text ?? '', /03:00\.0: .*it does not respond/);
      assert.equal(objections[0]?.bindingHelps, false);
    });

    it('is not one that sleeps in D3hot, nor a virtual function, whose IDs read as ones', () => {
      const sysfs = write(switched());
      writeFileSync(join(entry(sysfs, '03:00.0'), 'power_state'), 'D3hot\n');
      const config = readFileSync(join(entry(sysfs, '04:00.0'), 'config'));
      config.fill(0xff, 0, 4);
      writeFileSync(join(entry(sysfs, '04:00.0'), 'config'), config);
      assert.equal(read(sysfs).p2pPath('03:00.0', '04:00.0').verdict, 'direct');
    });
  });

  describe('a copy', () => {
    it('without a bridge: the paths through it are unknown, the others are decided', () => {
      for (const missing of ['02:00.0', '01:00.0', '00:01.0']) {
        const sysfs = write(switched());
        unlinkSync(entry(sysfs, missing));
        const topology = read(sysfs);
        const { verdict, reason } = topology.p2pPath('03:00.0', '04:00.0');
        assert.equal(verdict, missing === '00:01.0' ? 'direct' : 'unknown', missing);
        if (missing !== '00:01.0') assert.match(reason, new RegExp(`0000:${missing}: it is not in bus/pci/devices`));
        assert.equal(topology.p2pPath('03:00.0', '06:00.0').verdict, 'unsupported');
        assert.equal(topology.p2pPath('03:00.0', '04:00.0').distance, 4);
        assert.deepEqual([...topology.unseen.keys()], [`0000:${missing}`]);
        assert(!topology.functions.has(`0000:${missing}`));
        assert.deepEqual(
          topology.hostBridges.get('pci0000:00')?.map(({ address }) => address),
          ['0000:00:00.0', '0000:00:01.0', '0000:00:02.0'],
        );
      }
    });

    it('without the function that identifies the host bridge', () => {
      const host = switched();
      host.hostBridges[0]?.functions.splice(0, 1, {
        at: '00:00.0',
        vendor: 0x8086,
        device: 0x2020,
        classCode: 0x060000,
      });
      const sysfs = write(host);
      assert.equal(read(sysfs).p2pPath('03:00.0', '06:00.0').verdict, 'host-bridge');
      unlinkSync(entry(sysfs, '00:00.0'));
      const { verdict, reason } = read(sysfs).p2pPath('03:00.0', '06:00.0');
      assert.equal(verdict, 'unknown');
      assert.match(reason, /0000:00:00\.0: it is not in bus\/pci\/devices/);
    });

    it('with links followed: no place is known, so nothing is', () => {
      const sysfs = write(switched(acs.plain, { cpu: { vendor: 'AuthenticAMD', family: 25 } }));
      const copy = join(folder, 'followed/sys');
      mkdirSync(copy, { recursive: true });
      copyFollowing(join(sysfs, 'bus'), join(copy, 'bus'));
      const topology = PciTopology.read({ sysfs: copy, cpuinfo: 'vendor_id\t: AuthenticAMD\ncpu family\t: 25\n' });
      for (const [from, to] of [
        ['03:00.0', '04:00.0'],
        ['03:00.0', '06:00.0'],
      ] as const) {
        const path = topology.p2pPath(from, to);
        assert.equal(path.verdict, 'unknown');
        assert.match(path.reason, /the bridges above it are not known/);
        assert.equal(path.distance, undefined);
      }
      assert.deepEqual([...topology.hostBridges.keys()], ['unknown']);
      const { possible, objections } = topology.sharedIoas(['03:00.0', '04:00.0']);
      assert(!possible);
      assert.match(objections[0]?.text ?? '', /not known/);
    });

    it('whose folders skip a bridge: a root bus has the number of its host bridge', () => {
      const host = switched();
      host.hostBridges[0]?.functions.push(endpoint('09:00.0'));
      assert.equal(read(write(host)).p2pPath('09:00.0', '06:00.0').verdict, 'unknown');
    });

    it('with a link to nothing: no device, and unknown', () => {
      const sysfs = write(switched());
      rmSync(join(sysfs, 'devices/pci0000:00/0000:00:02.0/0000:06:00.0'), { recursive: true });
      const topology = read(sysfs);
      assert(!topology.functions.has('0000:06:00.0'));
      assert(!topology.p2pMatrix().devices.some(({ address }) => address === '0000:06:00.0'));
      const { verdict, reason } = topology.p2pPath('03:00.0', '06:00.0');
      assert.equal(verdict, 'unknown');
      assert.match(reason, /0000:06:00\.0: nothing of it was seen: its folder is missing/);
    });

    it('with a folder that has nothing', () => {
      const sysfs = write(switched());
      for (const file of ['vendor', 'config']) unlinkSync(join(entry(sysfs, '06:00.0'), file));
      assert(!read(sysfs).functions.has('0000:06:00.0'));
      assert.match(read(sysfs).p2pPath('03:00.0', '06:00.0').reason, /its folder has no vendor ID/);
    });

    for (const size of [256, 300, 0, 128]) {
      it(`with ${String(size)} bytes of a port's config space`, () => {
        const sysfs = write(switched(acs.isolating));
        for (const port of ['02:00.0', '02:01.0']) truncateSync(join(entry(sysfs, port), 'config'), size);
        const { verdict, reason, unreadable } = read(sysfs).p2pPath('03:00.0', '04:00.0');
        const seen = size === 300; // it has the capability
        assert.equal(verdict, seen ? 'unsupported' : 'unknown', reason);
        if (!seen) assert.equal(unreadable.length, 2);
        if (size === 256) assert.match(reason, /only 256 of the 4096 bytes of its config space were seen/);
      });
    }

    it('with 256 bytes of a conventional device is complete', () => {
      const host = switched();
      host.hostBridges[0]?.functions.push({ at: '00:05.0', vendor: 0x1af4, device: 0x1000, classCode: 0x020000 });
      assert.deepEqual(read(write(host)).find('00:05.0').gaps, []);
    });

    it('with zeros for config space', () => {
      const sysfs = write(switched(acs.isolating));
      writeFileSync(join(entry(sysfs, '02:01.0'), 'config'), Buffer.alloc(4096));
      const { verdict, reason } = read(sysfs).p2pPath('04:00.0', '05:00.0');
      assert.equal(verdict, 'unsupported', reason); // the other port redirects
      const plain = write(switched());
      for (const size of [64, 256, 4096]) {
        writeFileSync(join(entry(plain, '02:01.0'), 'config'), Buffer.alloc(size));
        const path = read(plain).p2pPath('04:00.0', '05:00.0');
        assert.equal(path.verdict, 'unknown', path.reason);
        assert.match(path.reason, /0000:02:01\.0: its config space was not seen: it is all zeros/);
      }
    });

    it('without config space', () => {
      const sysfs = write(switched());
      unlinkSync(join(entry(sysfs, '02:01.0'), 'config'));
      const { verdict, reason } = read(sysfs).p2pPath('03:00.0', '04:00.0');
      assert.equal(verdict, 'unknown');
      assert.match(reason, /0000:02:01\.0: its config space was not seen/);
    });

    it('with a part of cpuinfo: the CPU is not known', () => {
      const sysfs = write(switched());
      const judge = (cpuinfo: string) => PciTopology.read({ sysfs, cpuinfo }).p2pPath('03:00.0', '06:00.0');
      assert.equal(judge('vendor_id\t: AuthenticAMD\n').verdict, 'unknown');
      assert.equal(judge('cpu family\t: 25\n').verdict, 'unknown');
      assert.equal(judge('vendor_id\t: GenuineIntel\n').verdict, 'unsupported');
      const arm = judge('processor\t: 0\nCPU implementer\t: 0x41\n');
      assert.equal(arm.verdict, 'unsupported');
      assert.match(arm.reason, /neither the CPU, which is not x86, nor/);
      assert.doesNotMatch(arm.reason, /family/);
    });
  });

  describe('a user other than root', () => {
    const asUser = (host: Host): PciTopology => {
      const sysfs = write(host);
      for (const address of read(sysfs).functions.keys()) {
        truncateSync(join(sysfs, 'bus/pci/devices', address, 'config'), 64);
      }
      return read(sysfs);
    };
    /** The host of {@link switched} with a second host bridge, without functions 00.0. */
    const two = (device: number, more: Partial<HostFunction> = {}): Host => {
      const port = (at: string, behind: HostFunction) =>
        bridge(at, ports.rootPort, [behind], { vendor: 0x8086, device, ...more });
      return {
        cpu: { vendor: 'GenuineIntel', family: 6 },
        hostBridges: [
          { bus: '0000:00', functions: [port('00:01.0', endpoint('01:00.0'))] },
          { bus: '0000:80', functions: [port('80:01.0', endpoint('81:00.0'))] },
        ],
      };
    };

    it('is told of pairs that the kernel refuses in any case', () => {
      assert.equal(asUser(switched()).p2pPath('03:00.0', '06:00.0').verdict, 'unsupported');
      assert.equal(asUser(switched()).p2pPath('03:00.0', '04:00.0').verdict, 'unknown');
      // Whether its first function is a root port does not matter for a host bridge that no rule trusts.
      assert.equal(asUser(two(0x352a)).p2pPath('01:00.0', '81:00.0').verdict, 'unsupported');
      assert.equal(asUser(two(0x352a, { driver: 'other' })).p2pPath('01:00.0', '81:00.0').verdict, 'unsupported');
    });

    it('is told of root ports that Linux knows by their driver', () => {
      assert.equal(asUser(two(0x2030)).p2pPath('01:00.0', '81:00.0').verdict, 'host-bridge');
      assert.equal(asUser(two(0x2030, { driver: 'other' })).p2pPath('01:00.0', '81:00.0').verdict, 'unknown');
    });
  });

  describe('reasons and advice', () => {
    it('blame the host bridge that is not trusted', () => {
      const port = (at: string, device: number, behind: HostFunction) =>
        bridge(at, ports.rootPort, [behind], { vendor: 0x8086, device });
      const judge = (one: number, other: number) =>
        read(
          write({
            cpu: { vendor: 'GenuineIntel', family: 6 },
            hostBridges: [
              { bus: '0000:17', functions: [port('17:00.0', one, endpoint('18:00.0'))] },
              { bus: '0000:ae', functions: [port('ae:00.0', other, endpoint('af:00.0'))] },
            ],
          }),
        ).p2pPath('18:00.0', 'af:00.0');
      assert.match(
        judge(0x2030, 0x352a).reason,
        /neither GenuineIntel family 6 nor the host bridge pci0000:ae \(8086:352a\)$/,
      );
      assert.match(judge(0x352a, 0x2030).reason, /nor the host bridge pci0000:17 \(8086:352a\)$/);
      assert.match(judge(0x352a, 0x352a).reason, /nor the host bridges pci0000:17 .* and pci0000:ae/);
      assert.match(
        judge(0x2f00, 0x2030).reason,
        /host bridge pci0000:17 \(8086:2f00, which it trusts only between devices below/,
      );
    });

    it('no hint about a link that runs at the limit of its port', () => {
      const link = (speed: number, width: number) => ({ speed, width });
      const judge = (port: HostFunction['link'], device: HostFunction['link']) => {
        const behind = [endpoint('01:00.0', device ? { link: device } : {}), endpoint('01:00.1')];
        const host = {
          bus: '0000:00',
          functions: [bridge('00:01.0', ports.rootPort, behind, port ? { link: port } : {})],
        };
        const cpu = { vendor: 'GenuineIntel', family: 6 };
        return read(write({ cpu, hostBridges: [host] })).p2pPath('01:00.0', '01:00.1');
      };
      const hints = ({ advice }: ReturnType<typeof judge>) => advice.map(({ text }) => text).join();
      assert.equal(hints(judge({ ...link(8, 4), maxSpeed: 8 }, { ...link(8, 4), maxSpeed: 16 })), '');
      assert.equal(hints(judge({ ...link(16, 4), maxWidth: 4 }, { ...link(16, 4), maxWidth: 16 })), '');
      assert.match(
        hints(judge({ ...link(8, 4), maxSpeed: 32 }, { ...link(8, 4), maxSpeed: 16 })),
        /it could do 16 GT\/s x4/,
      );
      assert.match(
        hints(judge({ ...link(8, 4), maxWidth: 8 }, { ...link(8, 4), maxWidth: 16 })),
        /it could do 8 GT\/s x8/,
      );
      // A device that tells nothing of its link: the port tells.
      assert.equal(judge(link(8, 4), undefined).bandwidth?.toFixed(2), '3.94');
    });

    it('a virtual function is as fast as the link of its physical function', () => {
      const slow = { speed: 8, width: 4 };
      const fast = { speed: 32, width: 16 };
      const behind = [
        endpoint('01:00.0', { link: slow, files: { sriov_totalvfs: '2\n', sriov_numvfs: '1\n' } }),
        endpoint('01:00.1', { physical: '0000:01:00.0' }),
      ];
      const other = bridge('00:02.0', ports.rootPort, [endpoint('02:00.0', { link: fast })], { link: fast });
      const functions = [bridge('00:01.0', ports.rootPort, behind), other];
      const cpu = { vendor: 'AuthenticAMD', family: 25 };
      const path = read(write({ cpu, hostBridges: [{ bus: '0000:00', functions }] })).p2pPath('01:00.1', '02:00.0');
      assert.equal(path.from.physicalFunction, '0000:01:00.0');
      assert.equal(path.from.link?.width, 4);
      assert.equal(path.bandwidth?.toFixed(2), '3.94');
      assert.equal(path.slowest?.address, '0000:01:00.1');
    });

    it('a virtual function without its physical function is as fast as the link of the port above', () => {
      const fast = { speed: 32, width: 16 };
      const link = { speed: 8, width: 4 };
      // The device number differs from the physical function's.
      const behind = [endpoint('01:00.0', { link }), endpoint('01:02.0', { physical: '0000:01:00.0', link: fast })];
      const other = bridge('00:02.0', ports.rootPort, [endpoint('02:00.0', { link: fast })], { link: fast });
      const functions = [bridge('00:01.0', ports.rootPort, behind, { link }), other];
      const cpu = { vendor: 'AuthenticAMD', family: 25 };
      const sysfs = write({ cpu, hostBridges: [{ bus: '0000:00', functions }], slots: { '3': '0000:01:00' } });
      const judge = () => read(sysfs).p2pPath('01:02.0', '02:00.0');
      assert.equal(judge().bandwidth?.toFixed(2), '3.94');
      assert.equal(judge().from.slot, '3');
      unlinkSync(entry(sysfs, '01:00.0'));
      rmSync(join(sysfs, 'devices/pci0000:00/0000:00:01.0/0000:01:00.0'), { recursive: true });
      assert.equal(judge().from.physicalFunction, '0000:01:00.0');
      assert.equal(judge().bandwidth?.toFixed(2), '3.94');
      assert.equal(judge().from.slot, '3');
    });

    it('devices of the class of bridges that are endpoints are devices', () => {
      const host = switched();
      const functions = host.hostBridges[0]?.functions ?? [];
      const nvswitch = { vendor: 0x10de, device: 0x22a3, classCode: 0x068000 };
      functions.push(
        bridge('00:03.0', ports.rootPort, [
          endpoint('07:00.0', nvswitch),
          endpoint('07:00.1', { classCode: 0x060900 }),
        ]),
      );
      functions.push({ at: '00:1f.0', vendor: 0x8086, device: 0x2918, classCode: 0x060100 });
      functions.push({ at: '00:1e.0', vendor: 0x8086, device: 0x2918, classCode: 0x060400 });
      const devices = read(write(host))
        .p2pMatrix()
        .devices.map(({ address }) => address.slice(5));
      assert.deepEqual(devices, ['03:00.0', '04:00.0', '05:00.0', '06:00.0', '07:00.0', '07:00.1']);
    });
  });

  describe('identity', () => {
    it('serial numbers and slots', () => {
      const host = switched(acs.plain, { slots: { '7-1': '0000:03:00' } });
      const functions = host.hostBridges[0]?.functions ?? [];
      functions.push(bridge('00:03.0', ports.rootPort, [endpoint('07:00.0', { serial: 0x00e0_4c68_0000_0001n })]));
      const topology = read(write(host));
      assert.equal(topology.find('07:00.0').serialNumber, '00-e0-4c-68-00-00-00-01');
      assert.equal(topology.find('03:00.0').serialNumber, undefined);
      assert.deepEqual([topology.find('03:00.0').slot, topology.find('04:00.0').slot], ['7-1', undefined]);
    });
  });
});
