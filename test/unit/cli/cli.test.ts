// The command line on the fake kernel and on made sysfs trees.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { FakeKernel } from '../../../lib/fake';
import { bindToVfio, planBind, planUnbind } from '../../../lib';

const checkout = resolve(__dirname, '../../..');

const main = join(checkout, 'lib/cli/main.ts');
/** What a client in another language sees. */
const client = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1])
message, fds, _, _ = socket.recv_fds(s, 65536, 253)
print([buffer["size"] for buffer in json.loads(message)["buffers"]], len(fds))`;

const run = (...args: string[]) => runOn('fake', ...args);

function runOn(kernel: string, ...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const command = ['--import=tsx', main, ...args];
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
    // No colour, and no line cut, where no terminal is.
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

  it('share serves dma-bufs until it is stopped', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'share-')), 'socket');
    const options = ['--region', '2', '--range', '0:1M', '--range', '1M:64k', '--socket', path, '--gid', '4711'];
    const server = spawn(process.execPath, ['--import=tsx', main, 'share', '01:00.0', ...options], {
      env: { ...process.env, VFIO_DMABUF_KERNEL: 'fake' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
    assert.match(String((await lines.next()).value), /BAR 2 0x0, 1 MiB; 0000:01:00\.0 BAR 2 0x100000, 64 KiB$/);
    const { stdout } = spawnSync('python3', ['-c', client, path], { encoding: 'utf8' });
    assert.equal(stdout.trim(), "['0x100000', '0x10000'] 2");
    assert.match(String((await lines.next()).value), /^serving pid \d+, user \d+, group \d+$/);
    assert.match(String((await lines.next()).value), /^gone pid /);
    server.kill('SIGTERM');
    assert.deepEqual(await once(server, 'exit'), [0, null]);
    assert(!existsSync(path));
    rmSync(dirname(path), { recursive: true });
  });

  it('share tells each event as a line of JSON', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'share-')), 'socket');
    const options = ['--region', '2', '--range', '0:1M', '--socket', path, '--uid', '4711', '--json'];
    const server = spawn(process.execPath, ['--import=tsx', main, 'share', '01:00.0', ...options], {
      env: { ...process.env, VFIO_DMABUF_KERNEL: 'fake' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface(server.stdout)[Symbol.asyncIterator]();
    const next = async () => JSON.parse(String((await lines.next()).value)) as Record<string, unknown>;
    const buffers = [{ name: '0000:01:00.0 BAR 2 0x0', size: '0x100000' }];
    assert.deepEqual(await next(), { event: 'listening', socket: path, buffers });
    spawnSync('python3', ['-c', client, path]);
    const { event, uid } = await next();
    assert.deepEqual([event, uid], ['refused', process.getuid?.()]);
    server.kill('SIGTERM');
    server.kill('SIGINT');
    assert.deepEqual(await once(server, 'exit'), [0, null]);
    rmSync(dirname(path), { recursive: true });
  });

  it('share tells clients of the reset that SIGUSR2 makes', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'share-')), 'socket');
    const options = ['--region', '2', '--range', '0:1M', '--socket', path];
    const server = spawn(process.execPath, ['--import=tsx', main, 'share', '01:00.0', ...options], {
      env: { ...process.env, VFIO_DMABUF_KERNEL: 'fake' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(server.stdout, 'data');
    const listener = spawn('python3', ['-c', `${client}\nprint(s.recv(100))\nprint(s.recv(100))`, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(server.stdout, 'data');
    server.kill('SIGUSR2');
    assert.match(await text(listener.stdout), /"revoked".*\n.*"restored"/);
    server.stdout.destroy(); // nobody listens: it ends when it has something to say
    spawnSync('python3', ['-c', client, path]);
    assert.deepEqual(await once(server, 'exit'), [0, null]);
    assert(!existsSync(path));
    rmSync(dirname(path), { recursive: true });
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
    const kernel = new FakeKernel();
    sysfs = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-bind-'));
    cpSync(kernel.sysfs, sysfs, { recursive: true, verbatimSymlinks: true });
    kernel.close();
    mkdirSync(join(sysfs, 'bus/pci/drivers/nvme'));
    rmSync(join(device(), 'driver'));
    symlinkSync('../../../../bus/pci/drivers/nvme', join(device(), 'driver'));
  });
  afterEach(() => {
    rmSync(sysfs, { recursive: true });
  });

  /** A device of a class, below the PCI device. */
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
      { ...plan, steps: plan.steps.map(({ file, value }) => [file.replace(sysfs, ''), value]) },
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
    // Another device of the tree has it already.
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
    assert.throws(() => planBind(address, { sysfs }), { code: 'ERR_NO_IOMMU', message: /intel_iommu=on/ });
    rmSync(join(sysfs, 'bus/pci/drivers/vfio-pci'), { recursive: true });
    assert.throws(() => planBind(address, { sysfs }), { code: 'ERR_NO_VFIO_PCI', message: /modprobe vfio-pci/ });
  });
});
