// Makes the folder of a fake machine for `vfio-dmabuf run`: its description, its device nodes and its sysfs, joined with
// those of the host. The preload library (native/preload) shows the program this folder's files at /dev and /sys.
import { existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { native } from '../addon/native';
import { kernelCall } from '../errors/errors';
import { attempt, list } from '../kernel/look';
import { parentFolder, prepare } from './kernel';
import type { Machine } from './machine';

/** The parts of the host's /sys that a machine replaces: the program does not see the host's devices in them. */
const replaced = new Set([
  'bus/mdev',
  'bus/pci',
  'class/dma_heap',
  'class/iommu',
  'class/mdev_bus',
  'class/vfio',
  'class/vfio-dev',
  'kernel/iommu_groups',
  'module/udmabuf',
  'module/vfio',
  'module/vfio_iommu_type1',
  'module/vfio_pci',
]);
const isReplaced = (path: string): boolean => replaced.has(path) || /^devices\/pci[\da-f]{4}:[\da-f]{2}$/.test(path);

const ownNodes = new Set(['dma_heap', 'iommu', 'udmabuf', 'vfio']);

/** Adds links to those files of the host that the folder lacks. Folders that both have are joined. */
function joinHost(folder: string, host: string, path: string, isOurs: (path: string) => boolean): void {
  for (const name of list(join(host, path))) {
    const inside = path === '' ? name : `${path}/${name}`;
    if (isOurs(inside)) continue;
    const own = join(folder, inside);
    const stat = attempt(() => lstatSync(own));
    if (!stat) symlinkSync(join(host, inside), own);
    else if (stat.isDirectory()) joinHost(folder, host, inside, isOurs);
  }
}

/** Writes a device node: a file with the node's number, which the preload library shows as a character device. */
function writeNode(root: string, node: string, number: string): void {
  const file = join(root, node);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, number);
}

/** Writes the nodes of all character devices in the machine's sysfs. */
function writeNodes(root: string): void {
  const nodes: [className: string, folder: string][] = [
    ['misc', 'dev'],
    ['vfio', 'dev/vfio'],
    ['vfio-dev', 'dev/vfio/devices'],
    ['dma_heap', 'dev/dma_heap'],
  ];
  for (const [className, folder] of nodes) {
    for (const name of list(join(root, 'sys/class', className))) {
      const number = join(root, 'sys/class', className, name, 'dev');
      if (!existsSync(number)) continue;
      const node = className === 'misc' && name === 'vfio' ? 'dev/vfio/vfio' : join(folder, name);
      writeNode(root, node, readFileSync(number, 'utf8'));
    }
  }
  writeNode(root, 'sys/kernel/debug/sync/sw_sync', '0:0\n');
}

/** The environment that tells the preload library of the folder. */
export interface RunFolder {
  root: string;
  environment: Record<string, string>;
}

export function makeRunFolder(machine: Machine): RunFolder {
  const parent = parentFolder();
  const { root, lock } = kernelCall({ path: parent }, () => native.runFolder(parent));
  const prepared = prepare(machine);
  prepared.writeSysfs(join(root, 'sys'));
  writeFileSync(join(root, 'machine'), prepared.text);
  writeNodes(root);
  joinHost(join(root, 'sys'), '/sys', '', isReplaced);
  joinHost(join(root, 'dev'), '/dev', '', (path) => ownNodes.has(path));
  return { root, environment: { VFIO_DMABUF_RUN: root, VFIO_DMABUF_RUN_LOCK: String(lock) } };
}
