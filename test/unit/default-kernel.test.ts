// What reads sysfs without being told which reads that of the kernel that VFIO_DMABUF_KERNEL selects.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../cleanup';
import { loadTypeScript } from '../typescript';

/** The JSON that a program prints. `lib` and `fake` are the package's entry points. */
function told(program: string, kernel: string): unknown {
  const code = `${loadTypeScript}
    const lib = require(${JSON.stringify(require.resolve('../../lib'))});
    const fake = require(${JSON.stringify(require.resolve('../../lib/fake'))});
    ${program}`;
  const env = { ...process.env, VFIO_DMABUF_KERNEL: kernel };
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', code], { encoding: 'utf8', env });
  assert.notEqual(stdout, '', stderr);
  return JSON.parse(stdout);
}

describe('VFIO_DMABUF_KERNEL', function () {
  this.timeout(20_000);

  for (const name of ['fake', 'fake:legacy']) {
    it(`${name}: the topology, and the binding of drivers, are those of the fake`, () => {
      const program = `
        const machine = ${name === 'fake' ? 'fake.reference' : 'fake.legacy'};
        const topology = lib.PciTopology.read();
        const [{ role }] = machine.ports;
        const address = fake.addressOf(machine, role);
        const bound = lib.planBind(address);
        const unbound = lib.unbindFromVfio(address);
        const { sysfs } = lib.defaultKernel();
        console.log(JSON.stringify({
          driver: topology.find(address).driver, cpu: topology.cpu.vendor, from: bound.from,
          within: unbound.steps.every(({ file }) => file.startsWith(sysfs)), steps: unbound.steps.length,
          planned: lib.planUnbind(address).steps.every(({ file }) => file.startsWith(sysfs)),
        }));`;
      assert.deepEqual(told(program, name), {
        ...{ driver: 'vfio-pci', cpu: 'AuthenticAMD', from: 'vfio-pci' },
        ...{ within: true, steps: 3, planned: true },
      });
    });
  }

  it('does not matter to whoever names a sysfs', () => {
    const sysfs = join(temporaryFolder(), 'sys');
    mkdirSync(join(sysfs, 'bus/pci/devices'), { recursive: true });
    const program = `console.log(lib.PciTopology.read({ sysfs: ${JSON.stringify(sysfs)} }).functions.size)`;
    for (const kernel of ['fake', 'system', 'nonsense']) assert.equal(told(program, kernel), 0);
  });

  it('of no sense is ERR_UNKNOWN_KERNEL to all of them', () => {
    const program = `
      const calls = [
        () => lib.PciTopology.read(), () => lib.planBind('01:00.0'), () => lib.planUnbind('01:00.0'),
        () => lib.bindToVfio('01:00.0'), () => lib.unbindFromVfio('01:00.0'),
      ];
      const codes = calls.map((call) => { try { call(); } catch ({ code }) { return code; } });
      console.log(JSON.stringify(codes));`;
    assert.deepEqual(told(program, 'nonsense'), Array(5).fill('ERR_UNKNOWN_KERNEL'));
  });

  it('system: /sys', () => {
    const program = `
      let found; try { found = lib.PciTopology.read().functions.size; } catch ({ code }) { found = code; }
      console.log(JSON.stringify(found));`;
    const found = told(program, 'system');
    if (existsSync('/sys/bus/pci/devices')) assert.equal(typeof found, 'number');
    else assert.equal(found, 'ERR_NO_PCI');
  });
});
