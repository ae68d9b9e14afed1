// Which drivers of a host, other than IOMMUFD, can import a dma-buf of VFIO. VFIO asks every importer to accept
// peer-to-peer memory and to handle revocation (vfio_pci_dma_buf_attach()), then pci_p2pdma_map_type() must find a way.
import { join } from 'node:path';
import { list } from '../kernel/look';
import { good, note, type Finding } from './finding';

/** Modules, by the source of Linux 7.3. */
const accept = ['mlx5_ib', 'irdma', 'amdgpu', 'xe', 'virtio_gpu'];
const refuse: Readonly<Record<string, string>> = {
  mana_ib: 'it handles no revocation',
  efa: 'it handles no revocation',
  bnxt_re: 'it handles no revocation',
  ionic_rdma: 'it handles no revocation',
  rdma_rxe: 'it imports no dma-bufs',
  siw: 'it imports no dma-bufs',
  vgem: 'it handles no revocation',
};

export function importers(sysfs: string): Finding[] {
  const loaded = new Set(list(join(sysfs, 'module')));
  const able = accept.filter((name) => loaded.has(name));
  const unable = Object.entries(refuse).filter(([name]) => loaded.has(name));
  const no = unable.map(([name, why]) => `${name} (${why})`).join(', ');
  if (able.length > 0) {
    const but = no === '' ? '' : `. Not: ${no}`;
    return [
      good(
        'importers',
        `beside IOMMUFD, dma-bufs of VFIO can be imported by ${able.join(', ')}, if the kernel finds a way between the devices (else EINVAL)${but}. The kernel refuses all others with EOPNOTSUPP`,
      ),
    ];
  }
  return no === '' ? [] : [note('importers', `only IOMMUFD can import dma-bufs of VFIO here; not: ${no}`)];
}
