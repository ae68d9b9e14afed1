// The command line on the fake kernel and on generated sysfs trees.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { bindToVfio, FdChannel, planBind, planUnbind, ShareClient } from '../../../lib';
import { FakeKernel } from '../../../lib/fake';
import { afterwards, start, temporaryFolder } from '../../cleanup';
import { typescript } from '../../typescript';

const checkout = resolve(__dirname, '../../..');

const main = join(checkout, 'lib/cli/main.ts');
const run = (...args: string[]) => runOn('fake', ...args);

function runOn(kernel: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const command = [...typescript, main, ...args];
  const env = { ...process.env, VFIO_DMABUF_KERNEL: kernel };
  return spawnSync(process.execPath, command, { cwd: checkout, encoding: 'utf8', env });
}

describe('vfio-dmabuf', function () {
  this.timeout(30_000);

  it('doctor finds a fake machine healthy, in words and as JSON', () => {
    const told = run('doctor');
    assert.equal(told.status, 0, told.stderr);
    assert.match(
      told.stdout,
      /^ok {4}8 devices {2}bound to vfio-pci, can be opened, and exports its memory: 01:00\.0, /m,
    );
    assert.match(told.stdout, /This host can do it/);
    // Without a terminal, the output has no colours and no truncated lines.
    assert(!told.stdout.includes('\u001b'));
    const { healthy, findings } = JSON.parse(run('doctor', '--json').stdout) as {
      healthy: boolean;
      findings: { check: string; verdict: string; text: string; fix: string[] }[];
    };
    assert(healthy);
    assert.equal(findings.filter(({ verdict }) => verdict === 'bad').length, 0);
    for (const finding of findings) assert.deepEqual(Object.keys(finding), ['check', 'verdict', 'text', 'fix']);
  });

  it('doctor tells of VFIO’s older interface where IOMMUFD is missing', () => {
    const { status, stdout } = runOn('fake:legacy', 'doctor');
    assert.equal(status, 1);
    assert.match(stdout, /^note {2}groups .* older interface/m);
    assert.match(stdout, /^To do first \(iommufd\): ENOENT: /m);
  });

  it('export tells what a dma-buf is', () => {
    const told = run('export', '01:00.0', '--region', '2', '--range', '64k:0x1000', '--range', '0:1M', '--json');
    assert.equal(told.status, 0, told.stderr);
    const { inode, ...rest } = JSON.parse(told.stdout) as Record<string, unknown>;
    assert.match(String(inode), /^0x[0-9a-f]+$/);
    assert.deepEqual(rest, {
      address: '0000:01:00.0',
      region: 2,
      ranges: [
        { offset: '0x10000', length: '0x1000' },
        { offset: '0x0', length: '0x100000' },
      ],
      size: '0x101000',
      exporter: 'vfio_pci_core',
    });
  });

  describe('share', () => {
    let path: string;
    beforeEach(() => {
      path = join(temporaryFolder(), 'socket');
    });
    const share = (...options: string[]) => {
      const args = [...typescript, main, 'share', '01:00.0', '--region', '2', '--socket', path, ...options];
      const server = start(process.execPath, args, { env: { VFIO_DMABUF_KERNEL: 'fake' } });
      const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
      return { server, exit: once(server, 'exit'), line: async () => String((await lines.next()).value) };
    };
    const connect = () => {
      const channel = FdChannel.connect(path);
      afterwards(() => {
        channel.close();
      });
      return channel;
    };
    const receive = async (channel: FdChannel) => {
      using message = await channel.receive();
      assert(message, 'the server has closed the connection');
      const { buffers, event } = JSON.parse(Buffer.from(message.bytes).toString()) as {
        buffers?: { size: string }[];
        event?: string;
      };
      return { sizes: buffers?.map(({ size }) => size), event, fds: message.fds.length };
    };

    it('tells a client in another process that fake kernels are not shared, and goes on', async () => {
      const { server, exit, line } = share('--range', '0:1M');
      await line();
      for (let i = 0; i < 2; i += 1) {
        await assert.rejects(ShareClient.connect(path), {
          code: 'ERR_OTHER_KERNEL',
          message: /file of another fake kernel\. Each process .* run both ends in one process/,
        });
        assert.match(await line(), /^serving pid/);
        assert.match(await line(), /^gone pid/);
      }
      server.kill('SIGTERM');
      assert.deepEqual(await exit, [0, null]);
    });

    it('serves dma-bufs until it is stopped', async () => {
      const group = String(process.getegid?.());
      const { server, exit, line } = share('--range', '0:1M', '--range', '1M:64k', '--gid', group);
      assert.match(await line(), /BAR 2 0x0, 1 MiB; 0000:01:00\.0 BAR 2 0x100000, 64 KiB$/);
      const client = connect();
      assert.deepEqual(await receive(client), { sizes: ['0x100000', '0x10000'], event: undefined, fds: 2 });
      assert.match(await line(), /^serving pid \d+, user \d+, group \d+$/);
      client.close();
      assert.match(await line(), /^gone pid /);
      server.kill('SIGTERM');
      assert.deepEqual(await exit, [0, null]);
      assert(!existsSync(path));
    });

    it('writes each event as a line of JSON', async () => {
      const { server, exit, line } = share('--range', '0:1M', '--uid', '4711', '--json');
      const buffers = [{ name: '0000:01:00.0 BAR 2 0x0', size: '0x100000' }];
      assert.deepEqual(JSON.parse(await line()), { event: 'listening', socket: path, buffers });
      connect();
      const { event, uid } = JSON.parse(await line()) as Record<string, unknown>;
      assert.deepEqual([event, uid], ['refused', process.getuid?.()]);
      server.kill('SIGTERM');
      assert.deepEqual(await exit, [0, null]);
    });

    it('ends once when two signals come', async () => {
      const { server, exit, line } = share('--range', '0:1M');
      await line();
      // Both signals are pending when the process continues.
      for (const signal of ['SIGSTOP', 'SIGTERM', 'SIGINT', 'SIGCONT'] as const) server.kill(signal);
      assert.deepEqual(await exit, [0, null]);
      assert(!existsSync(path));
    });

    it('tells clients of the reset that SIGUSR2 makes', async () => {
      const { server, exit, line } = share('--range', '0:1M');
      await line();
      const client = connect();
      await receive(client);
      await line();
      server.kill('SIGUSR2');
      assert.equal((await receive(client)).event, 'revoked');
      assert.equal((await receive(client)).event, 'restored');
      server.stdout.destroy(); // the next write to stdout fails, so it ends
      connect();
      assert.deepEqual(await exit, [0, null]);
      assert(!existsSync(path));
    });
  });

  it('errors of the system exit with 1, wrong command lines with 2', () => {
    const failed = run('export', '01:00.0', '--region', '2', '--range', '1:1M');
    assert.equal(failed.status, 1);
    assert.match(failed.stderr, /^vfio-dmabuf: EINVAL: .*VFIO_DEVICE_FEATURE_DMA_BUF/);
    for (const args of [['export', '01:00.0'], ['bind'], ['export', '1', '-r', '0', '--range', 'x'], ['nothing']]) {
      const wrong = run(...args);
      assert.equal(wrong.status, 2, args.join(' '));
      assert.match(wrong.stderr, /^error: /);
    }
    const help = run('bind', '--help');
    assert.equal(help.status, 0);
    assert.match(help.stdout, /Example/);
  });
});

describe('binding to vfio-pci', () => {
  let sysfs: string;
  const address = '0000:01:00.0';
  const device = () => join(sysfs, 'bus/pci/devices', address);

  beforeEach(() => {
    using kernel = new FakeKernel();
    sysfs = join(temporaryFolder(), 'sys');
    cpSync(kernel.sysfs, sysfs, { recursive: true, verbatimSymlinks: true });
    mkdirSync(join(sysfs, 'bus/pci/drivers/nvme'));
    rmSync(join(device(), 'driver'));
    symlinkSync('../../../../bus/pci/drivers/nvme', join(device(), 'driver'));
  });

  /** Adds a device of a class below the PCI device. */
  function add(kind: 'block' | 'net', name: string, files: Record<string, string>): void {
    const folder = join(device(), kind, name);
    mkdirSync(folder, { recursive: true });
    for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, file), content);
    mkdirSync(join(sysfs, 'class', kind), { recursive: true });
    symlinkSync(folder, join(sysfs, 'class', kind, name));
  }

  it('tells every step, and remembers the old driver', () => {
    const plan = planBind('01:00.0', { sysfs });
    assert.deepEqual(
      {
        ...plan,
        steps: plan.steps.map(({ file, value }) => [file.replace(dirname(sysfs), '').replace('/sys', ''), value]),
      },
      {
        address,
        from: 'nvme',
        to: 'vfio-pci',
        steps: [
          ['/run/vfio-dmabuf/drivers/0000:01:00.0', 'nvme'],
          ['/bus/pci/devices/0000:01:00.0/driver_override', 'vfio-pci'],
          ['/bus/pci/devices/0000:01:00.0/driver/unbind', address],
          ['/bus/pci/drivers_probe', address],
        ],
        objections: [],
      },
    );
    // The other device of the tree is already bound to vfio-pci.
    assert.deepEqual(planBind('02:00.0', { sysfs }).steps, []);
    const back = planUnbind('02:00.0', { sysfs });
    assert.deepEqual(
      back.steps.map(({ file }) => file.replace(sysfs, '')),
      [
        '/bus/pci/devices/0000:02:00.0/driver_override',
        '/bus/pci/devices/0000:02:00.0/driver/unbind',
        '/bus/pci/drivers_probe',
      ],
    );
    assert.deepEqual(planUnbind('01:00.0', { sysfs }).steps, []);
  });

  it('refuses what would hurt, and touches nothing', () => {
    const root = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')[0]?.split(' ') ?? [];
    add('block', 'nvme0n1p2', { dev: `${root[2] ?? ''}\n` });
    add('block', 'nvme0n1p3', { dev: '259:99\n' });
    mkdirSync(join(device(), 'block/nvme0n1p3/holders/dm-0'), { recursive: true });
    add('net', 'eth7', { flags: '0x1003\n' });
    add('net', 'eth8', { flags: '0x1002\n' });
    writeFileSync(join(device(), 'boot_vga'), '1\n');
    assert.deepEqual(planBind(address, { sysfs }).objections, [
      `disk nvme0n1p2 is mounted on ${root[4] ?? ''}`,
      'disk nvme0n1p3 is part of dm-0',
      'network interface eth7 is up',
      'it is the display that the machine was started with',
    ]);
    assert.throws(() => bindToVfio(address, { sysfs }), { code: 'ERR_IN_USE' });
    assert(!existsSync(join(device(), 'driver_override')));
    assert.equal(planBind('00:01.0', { sysfs }).objections.at(-1), 'it is a bridge: the devices behind it would go');
  });

  it('says what is missing', () => {
    assert.throws(() => planBind('09:00.0', { sysfs }), { code: 'ERR_NO_SUCH_DEVICE' });
    rmSync(join(device(), 'iommu_group'));
    rmSync(join(sysfs, 'class/iommu'), { recursive: true });
    assert.throws(() => planBind(address, { sysfs }), { code: 'ERR_NO_IOMMU', message: /intel_iommu=on/ });
    rmSync(join(sysfs, 'bus/pci/drivers/vfio-pci'), { recursive: true });
    assert.throws(() => planBind(address, { sysfs }), { code: 'ERR_NO_VFIO_PCI', message: /modprobe vfio-pci/ });
  });
});
