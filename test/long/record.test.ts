// A host as one document: what it has and leaves out, and that the commands take it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  examineHost,
  Iommufd,
  planBind,
  PciTopology,
  recordHost,
  VfioContainer,
  VfioDevice,
  VfioGroup,
  type HostReport,
} from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { parseRecorded, writeRecorded } from '../../lib/kernel/recorded';
import { temporaryFolder } from '../cleanup';
import { SmallHost } from '../hosts/small-host';
import { hostNames, writeNamed } from '../hosts/hosts';
import { typescript } from '../typescript';

const checkout = resolve(__dirname, '../..');
const at = '0000:01:00.0';

function run(env: NodeJS.ProcessEnv, ...args: string[]) {
  const command = [...typescript, 'lib/cli/main.ts', ...args];
  return spawnSync(process.execPath, command, { cwd: checkout, encoding: 'utf8', env: { ...process.env, ...env } });
}

describe('a recorded host', function () {
  this.timeout(60_000);

  for (const name of hostNames) {
    it(`is the same host: ${name}`, () => {
      const sysfs = writeNamed(temporaryFolder(), name);
      const record = recordHost({ sysfs });
      const copy = writeRecorded(temporaryFolder(), parseRecorded(JSON.stringify(record)));
      const [from, to] = [PciTopology.read({ sysfs }), PciTopology.read({ sysfs: copy })];
      const flat = (topology: PciTopology) =>
        [...topology.functions.values()].map((found) => ({
          ...found,
          parent: found.parent?.address,
          children: undefined,
        }));
      assert.deepEqual(flat(to), flat(from));
      assert.deepEqual(to.cpu, from.cpu);
      assert.deepEqual(examineHost({ sysfs: copy }).findings, examineHost({ sysfs }).findings);
      assert.deepEqual(recordHost({ sysfs: copy }), record, 'a record of the copy is the same');
    });
  }

  it('has no serial numbers unless they are asked for', () => {
    const host = new SmallHost();
    const folder = host.add(at, { driver: 'nvme', group: 1 });
    const config = Buffer.alloc(4096);
    config.writeUInt32LE(0x1a0_1_0001, 0x100); // another capability first
    config.writeUInt32LE((0x200 << 20) | 0x10003, 0x1a0);
    config.write('SERIALNO', 0x1a4, 'latin1');
    config.writeUInt32LE(0x1000d, 0x200);
    config.write('KEEPTHIS', 0x204, 'latin1');
    writeFileSync(join(host.root, folder, 'config'), config);
    host.write(`${folder}/nvme/nvme0/serial`, 'S4EWNX0R123456\n');
    host.write(`${folder}/net/enx001122aabbcc/flags`, '0x1003\n');
    host.link(`${folder}/net/enx001122aabbcc`, 'sys/class/net/enx001122aabbcc');
    host.write('proc/cmdline', 'root=UUID=1234 intel_iommu=on luks=secret\n');
    const record = (serials: boolean) => JSON.stringify(recordHost({ sysfs: host.sysfs, serials }));
    const [without, all] = [record(false), record(true)];
    const hex = (text: string) => Buffer.from(text, 'latin1').toString('hex');
    for (const serial of [hex('SERIALNO'), 'S4EWNX0R123456', '001122aabbcc']) {
      assert(!without.includes(serial), serial);
      assert(all.includes(serial), serial);
    }
    assert(without.includes(hex('KEEPTHIS')));
    assert(without.includes('intel_iommu=on'));
    assert(!without.includes('secret') && !without.includes('UUID'));
  });

  it('has what keeps a device from being bound', () => {
    const host = new SmallHost();
    const folder = host.add(at, { driver: 'nvme', group: 1 });
    host.write(`${folder}/nvme/nvme0/nvme0n1/dev`, '259:0\n');
    host.link(`${folder}/nvme/nvme0/nvme0n1`, 'sys/class/block/nvme0n1');
    host.write('proc/self/mountinfo', '22 1 259:0 / /home/secret rw - ext4 /dev/nvme0n1 rw\n');
    host.write(`sys/kernel/iommu_groups/1/reserved_regions`, '0x7a000000 0x7a7fffff direct\n');
    const record = recordHost({ sysfs: host.sysfs });
    assert(!JSON.stringify(record).includes('secret'));
    const sysfs = writeRecorded(temporaryFolder(), record);
    const { objections } = planBind(at, { sysfs });
    assert.match(objections[0] ?? '', /firmware reserves/);
    assert.equal(objections[1], 'disk nvme0n1 is mounted on /(mounted)');
  });

  it('of someone else cannot write outside its folder', () => {
    const good = { files: {}, config: {}, links: {}, folders: [] };
    assert(existsSync(join(writeRecorded(temporaryFolder(), { ...good, folders: ['/sys/bus'] }), 'bus')));
    for (const bad of [
      { ...good, files: { '/etc/passwd': 'x' } },
      { ...good, files: { '/sys/../etc/passwd': 'x' } },
      { ...good, files: { 'sys/x': 'x' } },
      { ...good, files: { '/sys/x': 7 } },
      { ...good, files: undefined },
      { ...good, links: { '/sys/x': '/etc/passwd' } },
      { ...good, links: { '/sys/x': '/sys/a/../../../etc' } },
      { ...good, folders: ['/sys/..'] },
      { ...good, folders: 'all' },
      { ...good, config: { '/sys/c': { bytes: 'zz', size: 2 } } },
      { ...good, config: { '/sys/c': { bytes: '', size: 2 ** 40 } } },
    ]) {
      const folder = temporaryFolder();
      assert.throws(() => writeRecorded(folder, bad as never), { code: 'ERR_NOT_A_RECORD' }, JSON.stringify(bad));
      assert.deepEqual(readdirSync(folder), []);
    }
    for (const text of ['', '[]', 'null', '7', '{']) {
      assert.throws(() => writeRecorded(temporaryFolder(), parseRecorded(text)), { code: 'ERR_NOT_A_RECORD' }, text);
    }
  });

  it('is a fake machine: its topology, and devices whose BARs can be exported and mapped', async () => {
    for (const name of ['laptop', 'virtual-machine', 'gpu-server']) {
      const sysfs = writeNamed(temporaryFolder(), name);
      const record = recordHost({ sysfs });
      using kernel = FakeKernel.ofHost(record);
      const [real, fake] = [PciTopology.read({ sysfs }), PciTopology.read({ sysfs: kernel.sysfs })];
      const verdicts = (topology: PciTopology) => {
        const { devices } = topology.p2pMatrix();
        const matrix = topology.p2pMatrix();
        return devices.flatMap((_, i) => devices.map((_other, j) => matrix.verdict(i, j)));
      };
      assert.deepEqual(verdicts(fake), verdicts(real), name);
      using iommufd = Iommufd.open({ kernel });
      using ioas = iommufd.allocIoas();
      const held = [...fake.functions.values()].filter(({ cdev }) => cdev !== undefined);
      assert(held.length > 1, name);
      const memory = held.find(({ bars }) => bars.some(({ kind, size }) => kind === 'memory' && size >= 0x4000n));
      assert(memory, name);
      using device = await VfioDevice.open(memory.address, { kernel, iommufd });
      await device.attach(ioas);
      assert.equal(device.config.read16(0), memory.vendor);
      const bar = memory.bars.find(({ kind, size }) => kind === 'memory' && size >= 0x4000n);
      assert(bar);
      assert.equal(device.region(bar.index).size, bar.size);
      const range = device.region(bar.index).exportableRanges()[0];
      assert(range);
      using dmaBuf = device.exportDmaBuf({ region: bar.index, offset: range.offset, length: 0x1000n });
      const mapping = ioas.mapDmaBuf(dmaBuf);
      device.command.memory = false;
      assert.equal(mapping.state, 'revoked');
    }
    assert.throws(() => FakeKernel.ofHost({} as never), { code: 'ERR_NOT_A_RECORD' });
  });

  it('is a fake machine that refuses a group with a firmware region, as the kernel does', async () => {
    const host = new SmallHost();
    const [held, free] = [at, '0000:02:00.0'];
    for (const [group, address] of [held, free].entries()) {
      const folder = host.add(address, { driver: 'vfio-pci', group: group + 1 });
      writeFileSync(join(host.root, folder, 'config'), Buffer.alloc(256, 'vendor', 'latin1').fill(0, 4));
    }
    const regions = (group: number, text: string) =>
      host.write(`sys/kernel/iommu_groups/${String(group)}/reserved_regions`, text);
    regions(1, '0x7a000000 0x7a7fffff direct\n0xfee00000 0xfeefffff msi\n');
    regions(2, '0x7b000000 0x7b7fffff direct-relaxable\n0xfee00000 0xfeefffff msi\n');
    using kernel = FakeKernel.ofHost(recordHost({ sysfs: host.sysfs }));
    using iommufd = Iommufd.open({ kernel });
    using ioas = iommufd.allocIoas();
    const refused = { code: 'EINVAL', message: /firmware reserves memory .*0x7a000000-0x7a7fffff/ };
    await assert.rejects(VfioDevice.open(held, { kernel, iommufd }), refused);
    using container = VfioContainer.open({ kernel });
    using group = VfioGroup.open(1, { kernel });
    assert.throws(() => group.setContainerSync(container), refused);
    group.setContainerSync(iommufd);
    await assert.rejects(VfioDevice.open(held, { group }), refused);
    using device = await VfioDevice.open(free, { kernel, iommufd });
    await device.attach(ioas);
    const { ranges } = ioas.iovaRanges();
    assert(ranges.some(({ start, last }) => start <= 0x7a00_0000n && last >= 0x7b7f_ffffn));
  });

  it('is a fake machine that has endpoints of the class of bridges, and no bridges', () => {
    const host = new SmallHost();
    const add = (slot: number, classCode: number, header: number) => {
      const address = `0000:0${String(slot)}:00.0`;
      const folder = host.add(address, { group: slot, files: { class: `0x${classCode.toString(16)}` } });
      const config = Buffer.alloc(256);
      config.writeUInt32LE(0x22a3_10de, 0);
      config.writeUInt32LE((classCode << 8) >>> 0, 8);
      config.writeUInt8(header, 0x0e);
      writeFileSync(join(host.root, folder, 'config'), config);
    };
    for (const [i, [classCode, header]] of [
      ...[
        [0x068000, 0],
        [0x068000, 0x80],
        [0x060900, 0],
      ], // an NVSwitch, one with several functions, an NTB
      ...[
        [0x060400, 1],
        [0x068000, 1],
        [0x060000, 0],
        [0x060100, 0x80],
        [0x060700, 2],
      ],
    ].entries() as Iterable<[number, [number, number]]>)
      add(i + 1, classCode, header);
    using kernel = FakeKernel.ofHost(recordHost({ sysfs: host.sysfs }));
    const held = [...PciTopology.read({ sysfs: kernel.sysfs }).functions.values()].filter(({ cdev }) => cdev);
    assert.deepEqual(
      held.map(({ address }) => address),
      ['0000:01:00.0', '0000:02:00.0', '0000:03:00.0'],
    );
  });

  it('is the kernel that VFIO_DMABUF_KERNEL names', () => {
    const file = join(temporaryFolder(), 'host.json');
    writeFileSync(file, JSON.stringify(recordHost({ sysfs: writeNamed(temporaryFolder(), 'laptop') })));
    const { stdout, status } = run({ VFIO_DMABUF_KERNEL: `fake:${file}` }, 'doctor', '--json');
    const { findings } = JSON.parse(stdout) as HostReport;
    const device = findings.find(({ check }) => check === 'device 0000:01:00.0');
    assert.equal(device?.verdict, 'good');
    assert.equal(status, 0, stdout);
    const wrong = run({ VFIO_DMABUF_KERNEL: 'fake:/nonexistent.json' }, 'doctor');
    assert.equal(wrong.status, 1);
    assert.match(wrong.stderr, /ENOENT/);
  });

  it('is written by the command, and taken by the others', () => {
    const root = temporaryFolder();
    writeNamed(root, 'laptop');
    const { stdout, status } = run({}, 'record', '--root', root);
    assert.equal(status, 0);
    assert.equal(run({}, 'record', '--json', '--root', root).stdout, stdout);
    const file = join(temporaryFolder(), 'host.json');
    writeFileSync(file, stdout);
    for (const args of [
      ['devices', '--json'],
      ['topology', '--json'],
      ['doctor', '--json'],
    ]) {
      const [copied, recorded] = [run({}, ...args, '--root', root), run({}, ...args, '--root', file)];
      assert.equal(recorded.stdout, copied.stdout, args[0]);
      assert.equal(recorded.status, copied.status, args[0]);
    }
    assert.deepEqual(
      readdirSync(tmpdir()).filter((name) => name.startsWith('vfio-dmabuf-host-')),
      [],
    );
    writeFileSync(file, readFileSync(file).subarray(0, 100));
    const broken = run({}, 'devices', '--root', file);
    assert.equal(broken.status, 1);
    assert.match(broken.stderr, /not a host that `vfio-dmabuf record` wrote/);
  });
});
