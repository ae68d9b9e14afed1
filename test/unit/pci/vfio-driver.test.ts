// Which driver of VFIO a device has, or gets: variant drivers are known by their properties, not by their names.
import assert from 'node:assert/strict';
import { planBind, planUnbind, PciTopology, recordHost } from '../../../lib';
import { hintFor } from '../../../lib/hints';
import { previewBind } from '../../../lib/pci/binding';
import { isHeldByVfio, vfioDriverFor } from '../../../lib/pci/vfio-driver';
import { writeRecorded } from '../../../lib/kernel/recorded';
import { temporaryFolder } from '../../cleanup';
import { SmallHost } from '../../hosts/small-host';

const at = '0000:01:00.2';
const modalias = 'pci:v000015B3d0000101Esv000015B3sd00000023bc02sc00i00';

describe('the VFIO driver of a device', () => {
  let host: SmallHost;
  beforeEach(() => {
    host = new SmallHost(['vfio-pci']);
    host.add(at, { driver: 'mlx5_core', group: 1, files: { modalias, class: '0x020000' } });
  });
  const aliases = (...lines: string[]) =>
    host.write('lib/modules/7.3.4/modules.alias', `${lines.map((line) => `alias ${line}`).join('\n')}\n`);
  const every = 'vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci';
  const exact = 'vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci';

  it('is the generic one without a better alias', () => {
    assert.equal(planBind(at, { sysfs: host.sysfs }).to, 'vfio-pci');
    aliases(every, 'pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core');
    assert.equal(planBind(at, { sysfs: host.sysfs }).to, 'vfio-pci');
    aliases(every, 'vfio_pci:v000015B3d00001017sv*sd*bc*sc*i* mlx5_vfio_pci');
    assert.equal(planBind(at, { sysfs: host.sysfs }).to, 'vfio-pci');
  });

  it('is the one with the fewest wildcards, in any order, under the name that it has in sysfs', () => {
    host.folder('sys/module/acme_pass');
    host.folder('sys/bus/pci/drivers/acme-passthrough');
    host.link('sys/module/acme_pass', 'sys/bus/pci/drivers/acme-passthrough/module');
    const better = 'vfio_pci:v000015B3d0000101Esv000015B3sd*bc*sc*i* acme-pass';
    for (const lines of [
      [every, exact, better],
      [better, exact, every],
    ]) {
      aliases(...lines);
      const { to, steps } = planBind(at, { sysfs: host.sysfs });
      assert.equal(to, 'acme-passthrough');
      assert.equal(steps.find(({ file }) => file.endsWith('driver_override'))?.value, 'acme-passthrough');
    }
    assert.equal(planBind(at, { sysfs: host.sysfs, driver: 'vfio-pci' }).to, 'vfio-pci');
  });

  it('has to be loaded, by its module', () => {
    aliases(every, exact);
    const error = { code: 'ERR_NO_VFIO_PCI', message: /modprobe mlx5_vfio_pci, or take the generic driver/ };
    assert.throws(() => planBind(at, { sysfs: host.sysfs }), error);
    const preview = previewBind(at, { sysfs: host.sysfs });
    assert.equal(preview.to, 'mlx5_vfio_pci');
    assert.match(preview.objections[0] ?? '', /modprobe mlx5_vfio_pci/);
    host.folder('sys/bus/pci/drivers/mlx5_vfio_pci');
    assert.equal(planBind(at, { sysfs: host.sysfs }).to, 'mlx5_vfio_pci');
  });

  it('that is named has to be a VFIO driver', () => {
    const bind = (driver: string, force = false) => planBind(at, { sysfs: host.sysfs, driver, force });
    const error = { code: 'ERR_NO_VFIO_PCI', message: /^(?:ixgbe|nvme|pci-stub|'') is not a VFIO driver/ };
    for (const driver of ['ixgbe', 'nvme', 'pci-stub']) host.folder(`sys/bus/pci/drivers/${driver}`);
    host.add('0000:03:00.0', { driver: 'nvme', group: 3 });
    aliases(every, exact);
    for (const driver of ['ixgbe', 'nvme', 'pci-stub', '']) {
      assert.throws(() => bind(driver), error, driver);
      assert.match(previewBind(at, { sysfs: host.sysfs, driver }).objections.join(), error.message);
      assert.match(bind(driver, true).objections.join(), error.message);
    }
    // By its alias, whatever the module is called; because it uses vfio_pci_core; and by a device that it has.
    for (const driver of ['mlx5_vfio_pci', 'acme-pass', 'other']) host.folder(`sys/bus/pci/drivers/${driver}`);
    host.folder('sys/module/vfio_pci_core/holders/acme_pass');
    host.add('0000:02:00.0', { driver: 'other', group: 2, cdev: 'vfio3' });
    for (const driver of ['vfio-pci', 'mlx5_vfio_pci', 'acme-pass', 'other']) {
      assert.equal(bind(driver).to, driver);
      const copy = writeRecorded(temporaryFolder(), recordHost({ sysfs: host.sysfs }));
      assert.equal(planBind(at, { sysfs: copy, driver }).to, driver);
    }
  });

  it('is found if it is built into the kernel', () => {
    host.write(
      'lib/modules/7.3.4/modules.builtin.modinfo',
      `vfio_pci.alias=${every.split(' ')[0] ?? ''}\0acme_vfio.license=GPL\0acme_vfio.alias=vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*\0`,
    );
    assert.equal(vfioDriverFor(host.sysfs, at).driver, 'acme_vfio');
  });

  it('stays: a device with a vfio-dev folder, or with a driver that has such an alias, is left alone', () => {
    for (const driver of ['mlx5_vfio_pci', 'acme']) {
      host.add('0000:02:00.0', { driver, group: 2, cdev: 'vfio3' });
      assert.deepEqual(planBind('02:00.0', { sysfs: host.sysfs }).steps, [], driver);
      assert.equal(planUnbind('02:00.0', { sysfs: host.sysfs }).steps.length, 3, driver);
    }
    host.add('0000:03:00.0', { driver: 'mlx5_vfio_pci', group: 3 }); // before Linux 6.1
    assert(!isHeldByVfio(host.sysfs, '0000:03:00.0'));
    aliases(every, exact);
    assert(isHeldByVfio(host.sysfs, '0000:03:00.0'));
    assert(!isHeldByVfio(host.sysfs, at));
  });

  it('does not make a group unviable, in any message', () => {
    host.add('0000:01:00.3', { driver: 'acme', group: 1, cdev: 'vfio4' });
    host.drive(at, 'vfio-pci');
    const kernel = { sysfs: host.sysfs };
    const viable = () => hintFor('VFIO_GROUP_SET_CONTAINER', 'EPERM', { group: 1 }, { kernel });
    assert.match(viable() ?? '', /^a device of the group has a driver/);
    assert.match(hintFor('VFIO_DEVICE_BIND_IOMMUFD', 'EPERM', { device: at }, { kernel }) ?? '', /another iommufd/);
    host.add('0000:01:00.4', { driver: 'snd_hda_intel', group: 1 });
    assert.match(viable() ?? '', /driver snd_hda_intel has 0000:01:00\.4/);
    host.folder('sys/bus/pci/devices/0000:01:00.2/vfio-dev/vfio5');
    const { objections } = PciTopology.read(kernel).sharedIoas([at, '0000:01:00.3']);
    assert.deepEqual(
      objections.map(({ device }) => device.address),
      ['0000:01:00.4'],
    );
  });

  it('that does not export is named, with the way to the one that does', () => {
    host.drive(at, 'mlx5_vfio_pci');
    const hint = hintFor(
      'VFIO_DEVICE_FEATURE_DMA_BUF',
      'EOPNOTSUPP',
      { device: at },
      { kernel: { sysfs: host.sysfs } },
    );
    assert.match(hint ?? '', /mlx5_vfio_pci.*does not export.*bind 0000:01:00\.2 --driver vfio-pci/);
  });
});
