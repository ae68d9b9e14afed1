// Takes devices from their drivers and gives them back on a real kernel, in a virtual machine (scripts/test-bind.ts). It
// is interrupted after each step, while others have the device open, and while the kernel waits.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import {
  bindToVfio,
  bindToVfioAsync,
  planBind,
  planUnbind,
  unbindFromVfio,
  unbindFromVfioAsync,
  VfioContainer,
  VfioDevice,
  VfioGroup,
  type BindingPlan,
} from '../../lib';

const [, , drive = '', functionWithVfs = '', engine = ''] = process.argv;
const folder = (address = drive) => `/sys/bus/pci/devices/${address}`;
const driverOf = (address = drive) => {
  try {
    return basename(readlinkSync(join(folder(address), 'driver')));
  } catch {
    return undefined;
  }
};
const override = () => readFileSync(join(folder(), 'driver_override'), 'utf8').trim();
const memory = (address = drive) => `/run/vfio-dmabuf/drivers/${address}`;

function isAsBefore(why: string): void {
  assert.equal(driverOf(), 'nvme', why);
  assert.equal(override(), '(null)', why);
  assert(!existsSync(memory()), why);
}

/** Does the first steps of a plan, as a process that is killed after them has. */
function begin({ steps }: BindingPlan, count: number): void {
  for (const { file, value, details } of steps.slice(0, count)) {
    if (value === undefined) rmSync(file, { force: true });
    else if (details === undefined) writeFileSync(file, value);
    else {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(`${file}.new`, `${value}${details}`);
      renameSync(`${file}.new`, file);
    }
  }
}

const children: ChildProcess[] = [];

/** Starts a process that has a file open. */
async function holder(path: string, mode = '<'): Promise<number> {
  const child = spawn('bash', ['-c', `exec 9${mode}${path}; echo open; exec sleep 600`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  await once(child.stdout, 'data');
  return child.pid ?? 0;
}

async function end(pid: number): Promise<void> {
  const child = children.find((candidate) => candidate.pid === pid);
  child?.kill('SIGKILL');
  if (child?.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function until(what: string, is: () => boolean): Promise<void> {
  for (let i = 0; i < 600; i += 1) {
    if (is()) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  assert.fail(`not within 60 s: ${what}`);
}

const cases: Record<string, () => void | Promise<void>> = {
  'bound and given back': () => {
    isAsBefore('at first');
    assert.equal(bindToVfio(drive).to, 'vfio-pci');
    assert.equal(driverOf(), 'vfio-pci');
    assert.equal(readFileSync(memory(), 'utf8').split('\n')[0], 'nvme');
    assert.deepEqual(bindToVfio(drive).steps, []);
    unbindFromVfio(drive);
    isAsBefore('given back');
    assert.deepEqual(unbindFromVfio(drive).steps, []);
  },

  'interrupted after each step of a bind': () => {
    const count = planBind(drive).steps.length;
    for (let done = 0; done <= count; done += 1) {
      begin(planBind(drive), done);
      unbindFromVfio(drive);
      isAsBefore(`unbind after ${String(done)} steps`);
      begin(planBind(drive), done);
      bindToVfio(drive);
      assert.equal(driverOf(), 'vfio-pci', `bind after ${String(done)} steps`);
      unbindFromVfio(drive);
      isAsBefore(`bind and unbind after ${String(done)} steps`);
    }
  },

  'interrupted after each step of an unbind': () => {
    bindToVfio(drive);
    const count = planUnbind(drive).steps.length;
    for (let done = 0; done <= count; done += 1) {
      begin(planUnbind(drive), done);
      unbindFromVfio(drive);
      isAsBefore(`unbind after ${String(done)} steps`);
      bindToVfio(drive);
    }
    unbindFromVfio(drive);
    isAsBefore('at the end');
  },

  'a disk that a process has open, plainly': async () => {
    const [name = ''] = readdirSync('/sys/class/block').filter((entry) =>
      readlinkSync(`/sys/class/block/${entry}`).includes(`/${drive}/`),
    );
    const pid = await holder(`/dev/${name}`);
    const message = new RegExp(`open by PID ${String(pid)} \\(sleep\\), through /dev/${name}$`);
    assert.throws(() => bindToVfio(drive), { code: 'ERR_IN_USE', message });
    await end(pid);
    isAsBefore('refused');
  },

  'VFIO: the kernel waits, the call does not': async () => {
    bindToVfio(drive);
    const [cdev = ''] = readdirSync(join(folder(), 'vfio-dev'));
    const pid = await holder(`/dev/vfio/devices/${cdev}`, '<>');
    const who = new RegExp(`open by PID ${String(pid)} \\(sleep\\), through /dev/vfio/devices/${cdev}`);
    await assert.rejects(unbindFromVfioAsync(drive), { code: 'ERR_IN_USE', message: who });
    const began = performance.now();
    let writer = 0;
    await assert.rejects(unbindFromVfioAsync(drive, { force: true, timeout: 8000 }), (error: Error) => {
      assert.match(error.message, who);
      writer = Number(/process (\d+) then completes/.exec(error.message)?.[1]);
      return true;
    });
    assert(performance.now() - began < 40_000);
    // The other process cannot be killed now: it waits in the kernel.
    process.kill(writer, 'SIGTERM');
    await new Promise((done) => setTimeout(done, 1000));
    assert(existsSync(`/proc/${String(writer)}`));
    await assert.rejects(bindToVfioAsync(drive, { timeout: 1000 }), {
      code: 'ERR_IN_USE',
      message: new RegExp(`PID ${String(writer)}`),
    });
    await end(pid);
    await until('the other process gives the drive back', () => driverOf() === 'nvme' && !existsSync(memory()));
    isAsBefore('in the end');
  },

  'VFIO: a device fd of the older interface, which has no file': async () => {
    bindToVfio(engine);
    const group = Number(basename(readlinkSync(join(folder(engine), 'iommu_group'))));
    using container = VfioContainer.open();
    using opened = VfioGroup.open(group);
    await opened.setContainer(container);
    await container.setIommu('TYPE1v2');
    {
      using device = VfioDevice.openSync(engine, { container });
      assert.equal(device.through, 'group');
      const [objection = ''] = planUnbind(engine).objections;
      assert.match(objection, new RegExp(`PID ${String(process.pid)} .*a VFIO device fd of its group`));
    }
  },

  'virtual functions: how many, and who has them': async () => {
    bindToVfio(functionWithVfs);
    const file = join(folder(functionWithVfs), 'sriov_numvfs');
    writeFileSync(file, '2');
    const virtual = basename(readlinkSync(join(folder(functionWithVfs), 'virtfn0')));
    assert.equal(driverOf(virtual), 'vfio-pci');
    const [cdev = ''] = readdirSync(join(folder(virtual), 'vfio-dev'));
    const pid = await holder(`/dev/vfio/devices/${cdev}`, '<>');
    const { objections } = planUnbind(functionWithVfs);
    assert.match(objections.join('\n'), /^its 2 virtual functions would go/);
    assert(
      objections.join('\n').includes(`${virtual} (vfio-pci: open by PID ${String(pid)} (sleep)`),
      objections.join('\n'),
    );
    await end(pid);
    writeFileSync(file, '0');
    unbindFromVfio(functionWithVfs);
    assert.equal(driverOf(functionWithVfs), 'nvme');
  },
};

async function main(): Promise<void> {
  let failed = 0;
  for (const [title, body] of Object.entries(cases)) {
    const began = performance.now();
    try {
      await body();
      console.log(`ok      ${title} (${((performance.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${title}: ${String((error as Error).stack)}`);
    } finally {
      for (const { pid } of [...children]) if (pid !== undefined) await end(pid);
    }
  }
  process.exitCode = failed === 0 ? 0 : 1;
}

void main();
