// VfioContainer: opens a VFIO container and tracks its dirty pages.
import { key } from '../errors/key';
import { data, shown } from '../addon/shown';
import { toKernel } from '../kernel/default-kernel';
import { classNode, openNodeSync } from '../kernel/device-node';
import { toDirtyPages, type DirtyPages } from '../iommufd/dirty';
import type { Kernel } from '../kernel/kernel';
import { native } from '../addon/native';
import { options, outOfRange, string, u64 } from '../errors/validate';
import { ContainerSpace } from './container-space';

/** The kernel's limit for the bitmap of one call: 2^31 - 1 pages. */
const mostDirtyPages = 0x7fff_ffffn;

/**
 * A container (/dev/vfio/vfio): IOMMU groups that share one I/O address space. It is VFIO's older interface, for
 * kernels without IOMMUFD.
 *
 * A mapping applies to all devices of the container's groups. It exists as long as a group is in the container.
 * dma-bufs cannot be mapped. Use {@link mapRegion} to map a peer device's BAR.
 */
export class VfioContainer extends ContainerSpace {
  static {
    shown(this, 'closed', 'fd', 'iommu', 'mappings');
  }

  /**
   * Opens a container.
   *
   * @param opts.path default: /dev/vfio/vfio
   * @throws KernelError ENOENT: this kernel has no containers. EACCES: this user may not open it. Error ERR_WRONG_NODE:
   *   the file belongs to another device.
   */
  static open(opts?: { kernel?: Kernel; path?: string }): VfioContainer {
    const { kernel: chosen, path: given } = options(opts, ['kernel', 'path']);
    const kernel = toKernel(chosen);
    const path = given === undefined ? '/dev/vfio/vfio' : string(given, 'path');
    return new VfioContainer(key, kernel, openNodeSync(kernel, classNode(path, 'the VFIO container', 'misc', 'vfio')));
  }

  /**
   * Unmaps all mappings in the range and returns their dirty pages (VFIO_IOMMU_UNMAP_DMA with
   * VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP). Both happen in one call, so that no write is missed between them.
   *
   * @throws KernelError EINVAL: as for {@link unmap}, or dirty pages are not tracked.
   */
  unmapDirty(iova: number | bigint, length: number | bigint): { unmapped: bigint; dirty: DirtyPages[] } {
    const { handle } = this;
    const { first, count, pageSize } = this.#toDirtyRange(iova, length);
    const { unmapped, bitmap } = this.call({ iova: first, length: count }, () =>
      native.containerUnmapDirty(handle, first, count, pageSize),
    );
    this.dropIn(first, first + count);
    return data({ unmapped, dirty: toDirtyPages(bitmap, first, pageSize) });
  }

  /**
   * Starts to track dirty pages (VFIO_IOMMU_DIRTY_PAGES). VFIO's type 1 IOMMU driver tracks only pages that drivers
   * pin. For devices behind an IOMMU, all mapped pages count as dirty. No error if tracking is started already.
   *
   * @throws KernelError EINVAL: no IOMMU is set. EACCES: the IOMMU is 'TYPE1'.
   */
  startDirtyTracking(): void {
    this.#trackDirtyPages(true);
  }

  /** Stops tracking dirty pages. No error if tracking is not started. */
  stopDirtyTracking(): void {
    this.#trackDirtyPages(false);
  }

  #trackDirtyPages(start: boolean): void {
    this.call({}, () => native.containerTrackDirtyPages(this.handle, start));
  }

  /**
   * Returns the dirty pages of a range in ascending order (VFIO_IOMMU_DIRTY_PAGES). The range must consist of whole
   * mappings. For a range with several mappings, Linux may also report pages between or after them, but it never omits
   * a dirty page. For one mapping, the result is exact.
   *
   * @throws KernelError EINVAL: tracking is not started, or the range cuts a mapping or is misaligned. EACCES: the
   *   IOMMU is 'TYPE1'. RangeError: more than 2^31 - 1 pages.
   */
  dirtyPages(iova: number | bigint, length: number | bigint): DirtyPages[] {
    const { handle } = this;
    const { first, count, pageSize } = this.#toDirtyRange(iova, length);
    const bitmap = this.call({ iova: first, length: count }, () =>
      native.containerDirtyPages(handle, first, count, pageSize),
    );
    return toDirtyPages(bitmap, first, pageSize);
  }

  #toDirtyRange(iova: number | bigint, length: number | bigint) {
    const first = u64(iova, 'iova');
    const wanted = u64(length, 'length', 1n);
    const { dirtyTracking, pageSizes } = this.info();
    const pageSize = dirtyTracking?.pageSizes[0] ?? pageSizes[0] ?? native.pageSize;
    // The kernel also rejects lengths above this limit.
    const most = mostDirtyPages * pageSize;
    if (wanted > most) throw outOfRange('length', `<= ${String(most)}`, length);
    return { first, count: wanted, pageSize };
  }
}
