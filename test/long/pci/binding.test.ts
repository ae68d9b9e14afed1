// Taking devices and giving them back: interrupted at any point, by two processes at once, with another device at the
// address, persistently, and with a kernel that waits.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import {
  bindToVfio,
  bindToVfioAsync,
  planBind,
  planUnbind,
  unbindFromVfio,
  unbindFromVfioAsync,
  type BindingPlan,
  type BindingStep,
} from '../../../lib';
import { FakeKernel } from '../../../lib/fake';
import { afterwards, start, temporaryFolder } from '../../cleanup';
import { SmallHost } from '../../hosts/small-host';
import { itNeeds, mkfifo } from '../../needs';
import { typescript } from '../../typescript';

const at = '0000:01:00.0';
const checkout = resolve(__dirname, '../../..');

/** Does what the kernel does when a step is written. */
class Kernel {
  readonly host: SmallHost;
  constructor(host: SmallHost) {
    this.host = host;
  }

  get driver(): string | undefined {
    const plan = planBind(at, { sysfs: this.host.sysfs, force: true });
    return plan.from;
  }

  step({ file, value, details }: BindingStep): void {
    const { host } = this;
    const override = join(host.sysfs, 'bus/pci/devices', at, 'driver_override');
    if (value === undefined) {
      rmSync(file, { force: true });
      return;
    }
    mkdirSync(dirname(file), { recursive: true });
    if (file.endsWith('/driver/unbind')) host.drive(at, undefined);
    else if (file.endsWith('/bind')) host.drive(at, dirname(file).split('/').at(-1));
    else if (file.endsWith('drivers_probe')) {
      const chosen = existsSync(override) ? readFileSync(override, 'utf8').trim() : '';
      host.drive(at, chosen === '' ? 'nvme' : chosen);
    } else writeFileSync(file, `${value}${details ?? ''}`);
  }
}

describe('taking a device and giving it back', () => {
  let host: SmallHost;
  let kernel: Kernel;
  beforeEach(() => {
    host = new SmallHost(['vfio-pci', 'nvme']);
    host.add(at, { driver: 'nvme', group: 1 });
    kernel = new Kernel(host);
  });
  const bind = (more = {}) => planBind(at, { sysfs: host.sysfs, ...more });
  const unbind = () => planUnbind(at, { sysfs: host.sysfs });
  const run = ({ steps }: BindingPlan, count = steps.length) => {
    for (const step of steps.slice(0, count)) kernel.step(step);
  };
  const overridden = () => {
    const file = join(host.sysfs, 'bus/pci/devices', at, 'driver_override');
    return existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
  };
  const remembered = () => existsSync(join(host.root, 'run/vfio-dmabuf/drivers', at));
  const isAsBefore = (why: string) => {
    assert.equal(kernel.driver, 'nvme', why);
    assert.equal(overridden(), '', why);
    assert(!remembered(), why);
  };

  it('a bind that ends after any step is undone by unbind, and completed by bind', () => {
    const count = bind({ persist: true }).steps.length;
    assert.equal(count, 5);
    for (let done = 0; done <= count; done += 1) {
      run(bind({ persist: true }), done);
      run(unbind());
      isAsBefore(`unbind after ${String(done)} steps`);
      assert.deepEqual(unbind().steps, []);
      run(bind({ persist: true }), done);
      run(bind({ persist: true }));
      assert.equal(kernel.driver, 'vfio-pci');
      assert.deepEqual(bind({ persist: true }).steps, []);
      run(unbind());
      isAsBefore(`bind, bind and unbind after ${String(done)} steps`);
    }
  });

  it('an unbind that ends after any step is completed by unbind, and reversed by bind', () => {
    run(bind({ persist: true }));
    const count = unbind().steps.length;
    for (let done = 0; done <= count; done += 1) {
      run(unbind(), done);
      run(unbind());
      isAsBefore(`unbind after ${String(done)} steps`);
      run(bind({ persist: true }));
      run(unbind(), done);
      run(bind({ persist: true }));
      assert.equal(kernel.driver, 'vfio-pci');
      run(unbind());
      isAsBefore(`bind and unbind after ${String(done)} steps`);
      run(bind({ persist: true }));
    }
  });

  it('restores a driver_override of the user, and no driver where there was none', () => {
    host.write(`sys/bus/pci/devices/${at}/driver_override`, 'nvme\n');
    run(bind());
    run(unbind());
    assert.equal(kernel.driver, 'nvme');
    assert.equal(overridden(), 'nvme');
    host.folder('sys/bus/pci/drivers/uio_pci_generic');
    host.write(`sys/bus/pci/devices/${at}/driver_override`, 'uio_pci_generic\n');
    run(bind());
    run(unbind());
    assert.equal(kernel.driver, 'nvme');
    assert.equal(overridden(), 'uio_pci_generic');
    host.drive(at, undefined);
    run(bind());
    assert.equal(kernel.driver, 'vfio-pci');
    run(unbind());
    assert.equal(kernel.driver, undefined);
    assert(!remembered());
  });

  it('does not give another device at the address, or one after a restart, what it remembers', () => {
    host.folder('sys/bus/pci/drivers/mlx5_core');
    for (const change of [
      () => host.write(`sys/bus/pci/devices/${at}/device`, '0x5678\n'),
      () => host.write(`sys/bus/pci/devices/${at}/subsystem_device`, '0x0002\n'),
      () => host.write(`sys/bus/pci/devices/${at}/revision`, '0x01\n'),
      () => host.write('proc/sys/kernel/random/boot_id', 'second\n'),
    ]) {
      host.write('proc/sys/kernel/random/boot_id', 'first\n');
      host.drive(at, 'mlx5_core');
      run(bind());
      change();
      const back = unbind();
      assert.equal(back.to, undefined);
      assert(back.steps.every(({ file }) => !file.includes('mlx5_core')));
      run(back);
      assert(!remembered());
      host.write(`sys/bus/pci/devices/${at}/driver_override`, '');
    }
  });

  it('belongs to the host of the sysfs, also through a link to it', () => {
    run(bind());
    const other = temporaryFolder();
    symlinkSync(host.sysfs, join(other, 'sys'));
    for (const sysfs of [`${host.sysfs}/`, `${host.sysfs}/../sys`, join(other, 'sys')]) {
      const plan = planUnbind(at, { sysfs });
      assert.equal(plan.to, 'nvme', sysfs);
      assert.equal(plan.steps.at(-1)?.file, join(host.root, 'run/vfio-dmabuf/drivers', at));
    }
    using fake = new FakeKernel();
    const address = fake.addressOf('ssd');
    const files = planUnbind(address, { sysfs: fake.sysfs }).steps.map(({ file }) => file);
    assert(files.every((file) => file.startsWith(dirname(fake.sysfs))));
  });

  it('persistently: a udev rule for this device at this address, which unbind removes', () => {
    run(bind());
    assert.deepEqual(bind().steps, []);
    const [rule, ...more] = bind({ persist: true }).steps;
    assert(rule);
    assert.deepEqual(more, []);
    assert.equal(rule.file, join(host.root, 'etc/udev/rules.d', `05-vfio-dmabuf-${at}.rules`));
    const line = rule.value?.split('\n').at(-2) ?? '';
    for (const part of [
      'ACTION=="add"',
      `KERNEL=="${at}"`,
      'ATTR{vendor}=="0x8086"',
      'ATTR{subsystem_device}=="0x0001"',
      'ATTR{driver_override}="vfio-pci"',
      'RUN{builtin}+="kmod load vfio-pci"',
    ]) {
      assert(line.includes(part), `${part} in ${line}`);
    }
    kernel.step(rule);
    // After a restart nothing is remembered but what the rule has.
    rmSync(join(host.root, 'run'), { recursive: true });
    const back = unbind();
    assert.equal(back.to, 'nvme');
    run(back);
    isAsBefore('unbind after a restart');
    assert.deepEqual(readdirSync(join(host.root, 'etc/udev/rules.d')), []);
  });

  it('persistently: unbind removes the rule also if the device is not bound', () => {
    run(bind({ persist: true }));
    rmSync(join(host.root, 'run'), { recursive: true });
    host.drive(at, 'nvme');
    assert.deepEqual(
      unbind().steps.map(({ file, value }) => [file, value]),
      [[join(host.root, 'etc/udev/rules.d', `05-vfio-dmabuf-${at}.rules`), undefined]],
    );
  });

  it('asks udev to load the previous driver if it is gone', () => {
    run(bind());
    rmSync(join(host.sysfs, 'bus/pci/drivers/nvme'), { recursive: true });
    const { steps, to } = unbind();
    assert.equal(to, undefined);
    assert(steps.some(({ file, value }) => file.endsWith('/uevent') && value === 'add'));
  });
});

describe('a change of drivers', function () {
  this.timeout(30_000);
  let host: SmallHost;
  beforeEach(() => {
    host = new SmallHost(['vfio-pci', 'nvme']);
    host.add(at, { driver: 'nvme', group: 1 });
  });
  /** Makes a write to the file wait, as the kernel does, until `release` is called. */
  const block = (file: string) => {
    assert.equal(spawnSync('mkfifo', [join(host.root, file)]).status, 0);
    const open: number[] = [];
    const release = () => {
      open.push(openSync(join(host.root, file), constants.O_RDONLY | constants.O_NONBLOCK));
    };
    afterwards(() => {
      release(); // a writer that still waits ends
      for (const fd of open) closeSync(fd);
    });
    return release;
  };
  const memory = () => join(host.root, 'run/vfio-dmabuf/drivers', at);
  const lock = () => join(host.root, 'run/vfio-dmabuf/locks', at);

  itNeeds([mkfifo], 'ends after the bound, and names who has the device and who completes it', async () => {
    const release = block('sys/bus/pci/drivers/nvme/unbind');
    const pid = /process (\d+) then completes/;
    let writer = 0;
    const began = performance.now();
    const bound = bindToVfioAsync(at, { sysfs: host.sysfs, timeout: 700 });
    let turns = 0;
    const ticking = setInterval(() => (turns += 1), 10);
    await assert.rejects(bound, (error: Error & { code?: string }) => {
      assert.equal(error.code, 'ERR_IN_USE');
      assert.match(error.message, /within 0\.7 s, at .*driver\/unbind: no process that can be seen has it open/);
      writer = Number(pid.exec(error.message)?.[1]);
      return true;
    });
    clearInterval(ticking);
    assert(performance.now() - began < 10_000);
    assert(turns > 10, 'the event loop has run');
    assert(existsSync(`/proc/${String(writer)}`));
    // The device is locked until the kernel is done. Then the other process completes the steps.
    assert.throws(() => bindToVfio(at, { sysfs: host.sysfs, timeout: 100 }), {
      code: 'ERR_IN_USE',
      message: new RegExp(`another process \\(PID ${String(writer)}\\) is changing the driver`),
    });
    release();
    const probe = join(host.sysfs, 'bus/pci/drivers_probe');
    for (let i = 0; i < 500 && !existsSync(probe); i += 1) await new Promise((done) => setTimeout(done, 10));
    assert.equal(readFileSync(probe, 'utf8'), at);
  });

  itNeeds([mkfifo], 'names the processes that have the device open at that time', () => {
    const folder = join('sys/bus/pci/devices', at);
    host.drive(at, 'vfio-pci');
    host.write(`${folder}/vfio-dev/vfio0/dev`, '1:3\n');
    host.process(4711, 'qemu', { 3: '/dev/null' });
    const release = block('sys/bus/pci/drivers/vfio-pci/unbind');
    assert.throws(() => unbindFromVfio(at, { sysfs: host.sysfs }), {
      code: 'ERR_IN_USE',
      message: /PID 4711 \(qemu\)/,
    });
    assert.throws(() => unbindFromVfio(at, { sysfs: host.sysfs, force: true, timeout: 300 }), {
      code: 'ERR_IN_USE',
      message: /did not change its driver.*open by PID 4711 \(qemu\), through \/dev\/vfio\/devices\/vfio0/,
    });
    release();
  });

  itNeeds([mkfifo], 'names them also if the driver has removed its files from sysfs', async () => {
    const folder = join('sys/bus/pci/devices', at);
    host.drive(at, 'vfio-pci');
    host.write(`${folder}/vfio-dev/vfio0/dev`, '1:3\n');
    host.process(4711, 'qemu', { 3: '/dev/null' });
    block('sys/bus/pci/drivers/vfio-pci/unbind');
    const unbound = unbindFromVfioAsync(at, { sysfs: host.sysfs, force: true, timeout: 1500 });
    for (let i = 0; i < 100 && !existsSync(lock()); i += 1) await new Promise((done) => setTimeout(done, 5));
    rmSync(join(host.root, folder, 'vfio-dev'), { recursive: true });
    await assert.rejects(unbound, { message: /PID 4711 \(qemu\), through \/dev\/vfio\/devices\/vfio0/ });
  });

  itNeeds([mkfifo], 'goes on when the process that began it is killed', async () => {
    const release = block('sys/bus/pci/drivers/nvme/unbind');
    const program = `require('./lib').bindToVfio('${at}', { sysfs: '${host.sysfs}' })`;
    const child = start(process.execPath, [...typescript, '-e', program]);
    const began = () => existsSync(lock()) && readFileSync(lock(), 'utf8').includes('"at":2');
    for (let i = 0; i < 1000 && !began(); i += 1) await new Promise((done) => setTimeout(done, 10));
    assert(began());
    child.kill('SIGKILL');
    assert.equal(readFileSync(memory(), 'utf8').split('\n')[0], 'nvme');
    release();
    const probe = join(host.sysfs, 'bus/pci/drivers_probe');
    for (let i = 0; i < 500 && !existsSync(probe); i += 1) await new Promise((done) => setTimeout(done, 10));
    assert.equal(readFileSync(probe, 'utf8'), at);
    assert.match(readFileSync(lock(), 'utf8'), /"done":true/);
  });

  itNeeds([mkfifo], 'that is killed itself is told, and leaves what can be undone', async () => {
    block('sys/bus/pci/drivers/nvme/unbind');
    const bound = bindToVfioAsync(at, { sysfs: host.sysfs, timeout: 20_000 });
    let pid: number | undefined;
    const look = setInterval(() => {
      const log = existsSync(lock()) ? readFileSync(lock(), 'utf8') : '';
      if (pid !== undefined || !log.includes('"at":2')) return;
      pid = Number(/"pid":(\d+)/.exec(log)?.[1]);
      process.kill(pid, 'SIGKILL');
    }, 10);
    await assert.rejects(bound, { code: 'EINTR', message: /driver\/unbind/ });
    clearInterval(look);
    assert(!existsSync(memory()));
  });

  it('by two processes at once: one after the other, and the memory is whole', async () => {
    const program = `
      const { bindToVfio } = require('./lib');
      try { bindToVfio('${at}', { sysfs: '${host.sysfs}' }); } catch (error) { process.stdout.write(error.code); }`;
    const children = [1, 2, 3, 4].map(() => start(process.execPath, [...typescript, '-e', program]));
    const told = await Promise.all(
      children.map(async (child) => {
        let text = '';
        for await (const part of child.stdout) text += String(part);
        return text;
      }),
    );
    // No kernel takes the device here, so each of them restores the driver.
    assert.deepEqual(told, ['ERR_NOT_BOUND', 'ERR_NOT_BOUND', 'ERR_NOT_BOUND', 'ERR_NOT_BOUND']);
    assert(!existsSync(memory()));
    assert.deepEqual(readdirSync(dirname(memory())), []);
  });

  it('that may not write says so', () => {
    const file = join(host.sysfs, 'bus/pci/drivers_probe');
    mkdirSync(file); // writing to a folder fails, for root, too
    assert.throws(() => bindToVfio(at, { sysfs: host.sysfs }), {
      code: 'EISDIR',
      message: /cannot write .*drivers_probe/,
    });
    assert(!existsSync(memory()));
  });
});

describe('vfio-dmabuf bind', function () {
  this.timeout(30_000);
  it('takes --driver, --persist and --timeout, and refuses others', () => {
    const host = new SmallHost(['vfio-pci', 'acme']);
    host.write('lib/modules/7.3.4/modules.alias', 'alias vfio_pci:v*d*sv*sd*bc*sc*i* acme\n');
    host.add(at, { driver: 'nvme', group: 1 });
    const run = (...args: string[]) =>
      spawnSync(
        process.execPath,
        [...typescript, 'lib/cli/main.ts', 'bind', '--root', host.root, '-n', '01:00.0', ...args],
        {
          ...{ cwd: checkout, encoding: 'utf8' },
        },
      );
    const { stdout, status } = run('--driver', 'acme', '--persist');
    assert.equal(status, 0);
    assert.match(stdout, /nvme -> acme, would do:/);
    assert.match(stdout, /05-vfio-dmabuf-0000:01:00\.0\.rules/);
    // The commands do what bind does; the files of sysfs are plain files here.
    const commands = stdout.split('acme, would do:\n')[1] ?? '';
    assert.equal(spawnSync('/bin/sh', ['-e', '-c', commands]).status, 0, commands);
    const memory = join(host.root, 'run/vfio-dmabuf/drivers', at);
    assert.match(readFileSync(memory, 'utf8'), /^nvme\nto acme\nidentity 0x8086 0x1234 /);
    assert.equal(planUnbind(at, { sysfs: host.sysfs }).steps.length, 3);
    assert.equal(run('--timeout', 'soon').status, 2);
    assert.equal(run('--timeout', '-1').status, 2);
  });
});
