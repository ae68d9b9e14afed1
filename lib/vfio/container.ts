// A VFIO container: how it is opened, and its dirty pages.
import { toKernel } from '../kernel/default-kernel';
import { classNode, openNodeSync } from '../kernel/device-node';
import { toDirtyPages, type DirtyPages } from '../iommufd/dirty';
import type { Kernel } from '../kernel/kernel';
import { native } from '../addon/native';
import { options, outOfRange, string, u64 } from '../errors/validate';
import { ContainerSpace } from './container-space';

/** What the kernel takes for the bitmap of one call: 2^31 - 1 pages. */
const mostDirtyPages = 0x7fff_ffffn;

/**
 * A container (/dev/vfio/vfio): IOMMU groups that share one I/O address space. It is VFIO's older interface, for kernels
 * without IOMMUFD.
 *
 * What is mapped is there for all devices of its groups, and as long as a group is in it. dma-bufs cannot be mapped: a peer's
 * BAR goes in with {@link mapRegion}.
 */
export class VfioContainer extends ContainerSpace {
  /**
   * Makes a container.
   *
   * @param opts.path default /dev/vfio/vfio
   * @throws KernelError ENOENT: this kernel has no containers. EACCES: this user may not open it. Error ERR_WRONG_NODE: the file
   *   is another device.
   */
  static open(opts?: { kernel?: Kernel; path?: string }): VfioContainer {
    const { kernel: chosen, path: given } = options(opts);
    const kernel = toKernel(chosen);
    const path = given === undefined ? '/dev/vfio/vfio' : string(given, 'path');
    return new VfioContainer(kernel, openNodeSync(kernel, classNode(path, 'the VFIO container', 'misc', 'vfio')));
  }

  /**
   * Unmaps all mappings in the range, and tells which of their pages are dirty (VFIO_IOMMU_UNMAP_DMA with
   * VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP), so that no write is lost in between.
   *
   * @throws KernelError EINVAL: as for {@link unmap}; or dirty pages are not tracked.
   */
  unmapDirty(iova: number | bigint, length: number | bigint): { unmapped: bigint; dirty: DirtyPages[] } {
    const { handle } = this;
    const { first, count, pageSize } = this.#toDirtyRange(iova, length);
    const { unmapped, bitmap } = this.call({ iova: first, length: count }, () =>
      native.containerUnmapDirty(handle, first, count, pageSize),
    );
    this.dropIn(first, first + count);
    return { unmapped, dirty: toDirtyPages(bitmap, first, pageSize) };
  }

  /**
   * Starts to track dirty pages (VFIO_IOMMU_DIRTY_PAGES). Type 1 knows only what drivers pin: behind an IOMMU every mapped
   * page counts as dirty. No error if it is started already.
   *
   * @throws KernelError EINVAL: no IOMMU is set. EACCES: it is 'TYPE1'.
   */
  startDirtyTracking(): void {
    this.#trackDirtyPages(true);
  }

  /** Stops it. No error if it is not started. */
  stopDirtyTracking(): void {
    this.#trackDirtyPages(false);
  }

  #trackDirtyPages(start: boolean): void {
    this.call({}, () => native.containerTrackDirtyPages(this.handle, start));
  }

  /**
   * The dirty pages of a range, in whole mappings, ascending (VFIO_IOMMU_DIRTY_PAGES). Of a range with several mappings
   * Linux may tell pages between or behind them, too, never too few; of one mapping it tells what is there.
   *
   * @throws KernelError EINVAL: not started; the range cuts a mapping, or is misaligned. EACCES: the IOMMU is 'TYPE1'. RangeError: more
   *   than 2^31 - 1 pages.
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
    // As the kernel sees it, which refuses what is larger than all that is mapped can be.
    const most = mostDirtyPages * pageSize;
    if (wanted > most) throw outOfRange('length', `<= ${String(most)}`, length);
    return { first, count: wanted, pageSize };
  }
}
