// Runs in the virtual machine, and lets two DRM drivers import dma-bufs of VFIO: virtio-gpu, which accepts peer-to-peer
// memory and handles revocation, and vgem, which does not. Compares virtio-gpu's results with the verdicts of the
// library, then resets the exporting device during each import. Writes the results as JSON.
//   importers.ts FILE
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { bindToVfio, examineHost, Iommufd, PciTopology, VfioDevice, type DmaBuf, type P2pPath } from '../../lib';

/** The kernel's result of an import by virtio-gpu, for each verdict. */
const results: Readonly<Record<P2pPath['verdict'], number | undefined>> = {
  direct: 0,
  'host-bridge': 0,
  unsupported: constants.errno.EINVAL,
  unknown: undefined,
};

export interface Import {
  exporter: string;
  verdict: P2pPath['verdict'];
  result: number;
}

const program = join(mkdtempSync(join(tmpdir(), 'importers-')), 'prime-import');

/** '/dev/dri/card0' of the device with this PCI address, or of the virtual device with this name. */
function card(device: string): string {
  const name = readdirSync('/sys/class/drm').find(
    (entry) => /^card\d+$/.test(entry) && basename(realpathSync(`/sys/class/drm/${entry}/device`)) === device,
  );
  assert(name !== undefined, `no DRM device of ${device}`);
  return `/dev/dri/${name}`;
}

/** Imports the buffer. During a successful import it calls a function. Returns 0 or the error's number. */
async function importBuffer(path: string, buffer: DmaBuf, during: () => Promise<void>): Promise<number> {
  const child = spawn(program, [path], { stdio: ['pipe', 'pipe', 'inherit', buffer.fd] });
  assert(child.stdin && child.stdout);
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer];
  const result = Number(chunk.toString());
  if (result === 0) await during();
  child.stdin.end();
  assert.deepEqual(await once(child, 'close'), [0, null]);
  return result;
}

const attached = (address: string) =>
  new RegExp(`vfio_pci_core[^]*Attached Devices:\\s+${address}`).test(
    readFileSync('/sys/kernel/debug/dma_buf/bufinfo', 'utf8'),
  );

async function main(): Promise<void> {
  const compiler = spawnSync('cc', ['-o', program, join(__dirname, 'prime-import.c')], { encoding: 'utf8' });
  assert.equal(compiler.status, 0, compiler.stderr);
  const topology = PciTopology.read();
  const withId = (id: number) => [...topology.functions.values()].filter(({ device }) => device === id);
  const [gpu] = withId(0x1050);
  const exporters = withId(0x11e8);
  assert(gpu !== undefined && exporters.length === 2);
  assert.match(examineHost().findings.find(({ check }) => check === 'importers')?.text ?? '', /by virtio_gpu\b/);

  using iommufd = Iommufd.open();
  const imports: Import[] = [];
  for (const { address } of exporters) {
    bindToVfio(address);
    using device = await VfioDevice.open(address, { iommufd });
    using buffer = device.exportDmaBuf({ region: 0, ranges: [{ offset: 0, length: 4096 }] });
    const { verdict } = topology.p2pPath(address, gpu.address);
    const result = await importBuffer(card(gpu.address), buffer, async () => {
      assert(attached(gpu.address));
      await device.reset();
    });
    assert.equal(result, results[verdict], `${address} to virtio-gpu, verdict ${verdict}`);
    const refused = await importBuffer(card('vgem'), buffer, () => Promise.resolve());
    assert.equal(refused, constants.errno.EOPNOTSUPP, 'vgem');
    // The device's memory is off: VFIO refuses all importers.
    device.command.memory = false;
    assert.equal(await importBuffer(card(gpu.address), buffer, () => Promise.resolve()), constants.errno.ENODEV);
    imports.push({ exporter: address, verdict, result });
  }
  writeFileSync(process.argv[2] ?? '/dev/stdout', JSON.stringify(imports));
}

void main();
