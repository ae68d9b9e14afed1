// Asks a kernel with virtio-gpu and vgem who can import a dma-buf of VFIO (test/p2p/importers.ts).
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { reference } from '../../lib/fake';
import type { Import } from '../../test/p2p/importers';
import { runInVm } from '../vm/vm';

const device = (what: string): string[] => ['-device', what];

/** virtio-gpu and an exporter below one switch, and an exporter below another root port. */
const hardware = [
  ...device('pcie-root-port,bus=pcie.0,addr=11.0,id=isolated,chassis=1'),
  ...device('edu,bus=isolated'),
  ...device('pcie-root-port,bus=pcie.0,addr=14.0,id=uplink,chassis=4'),
  ...device('x3130-upstream,bus=uplink,id=switch'),
  ...['left', 'right'].flatMap((id, i) =>
    device(`xio3130-downstream,bus=switch,addr=${String(i)}.0,id=${id},chassis=${String(10 + i)}`),
  ),
  ...device('edu,bus=left'),
  ...device('virtio-gpu-pci,bus=right,blob=on,iommu_platform=on,disable-legacy=on'),
  ...['-object', 'memory-backend-memfd,id=memory,size=2G,share=on', '-machine', 'memory-backend=memory'],
];

/**
 * Boots the machine with an AMD CPU of this family. Returns what came of each import, after it has checked with QEMU's
 * trace that virtio-gpu gave up each imported buffer when its exporter was reset.
 */
export async function importOn(image: string, family: number, shared: string): Promise<Import[]> {
  const [results, trace, stand] = ['imports.json', 'qemu.log', 'udmabuf.so'].map((name) => join(shared, name)) as [
    string,
    string,
    string,
  ];
  execFileSync('cc', ['-shared', '-fPIC', '-o', stand, 'test/p2p/udmabuf.c', '-ldl']);
  rmSync(trace, { force: true });
  const status = await runInVm({
    machine: { ...reference, name: 'importers', ports: [], mdevs: [], cpu: { vendor: 'AuthenticAMD', family } },
    hardware: [...hardware, '-trace', 'enable=virtio_gpu_cmd_res*', '-D', trace],
    command: ['node', '--require', './scripts/typescript.cjs', 'test/p2p/importers.ts', results],
    qemuEnvironment: existsSync('/dev/udmabuf') ? {} : { LD_PRELOAD: stand },
    shared,
    image,
    timeout: 300,
  });
  if (status !== 0) throw new Error(`imports in the virtual machine failed (CPU family ${String(family)})`);
  const imports = JSON.parse(readFileSync(results, 'utf8')) as Import[];
  const commands = [...readFileSync(trace, 'utf8').matchAll(/cmd_res_(create_blob|back_detach|unref) res (\w+)/g)];
  const steps = new Map<string, string>();
  for (const [, name = '', resource = ''] of commands)
    steps.set(resource, [steps.get(resource), name].filter(Boolean).join());
  for (const order of steps.values()) {
    if (order !== 'create_blob,back_detach,unref')
      throw new Error(`virtio-gpu did not handle the revocation: ${order}`);
  }
  const done = imports.filter(({ result }) => result === 0).length;
  if (steps.size !== done) throw new Error(`virtio-gpu imported ${String(steps.size)} buffers, not ${String(done)}`);
  return imports;
}
