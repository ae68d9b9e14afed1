// Gfx: the planes of a virtual display, as dma-bufs or as regions of the device.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { DmaBuf } from '../dmabuf/dma-buf';
import { kernelCall } from '../errors/errors';
import { native, type NativePlane } from '../addon/native';
import { fields, integer, oneOf, options } from '../errors/validate';
import type { DeviceFile } from './device-file';

const planes = ['overlay', 'primary', 'cursor'] as const; // in the order of DRM's plane types
const kinds = { 'dma-buf': 1 << 1, region: 1 << 2 } as const; // linux/vfio.h

/** A plane of a display. */
export type GfxPlaneName = (typeof planes)[number];

/** How a device provides its planes. */
export type GfxKind = keyof typeof kinds;

/** The current content of a plane. */
export interface GfxPlane {
  /** 'dma-buf': {@link Gfx.dmaBuf} returns the pixels. 'region': a region of the device contains them. */
  kind: GfxKind;
  /** The pixel format as DRM's four-character code. 'XR24': 32 bits per pixel, X, red, green and blue. */
  format: string;
  /** The pixel format as a number. */
  fourcc: number;
  /** DRM's format modifier: the memory layout of the pixels. 0: linear. */
  modifier: bigint;
  /** The width in pixels. */
  width: number;
  height: number;
  /** The distance between lines in bytes. */
  stride: number;
  /** The size of the plane in bytes. */
  size: number;
  /** The position of a cursor plane, and its hotspot relative to that position, in pixels. */
  x: number;
  y: number;
  hotX: number;
  hotY: number;
  /** The dma-buf's id, or the region's index. */
  id: number;
}

/** A device's display. */
export class Gfx {
  readonly #device: DeviceFile;

  static {
    shown(this, ['device', (gfx) => gfx.#device.address]);
  }

  /** @internal */
  constructor(made: Key, device: DeviceFile) {
    onlyInside(made, 'Gfx', 'use VfioDevice#gfx');
    this.#device = device;
  }

  /**
   * Returns how the device provides its planes (VFIO_DEVICE_QUERY_GFX_PLANE). Both false: it is not a display.
   */
  probe(): { dmaBuf: boolean; region: boolean } {
    const ask = (kind: GfxKind) =>
      kernelCall(this.#device.args(), () => native.gfxProbe(this.#device.handle, kinds[kind]));
    return { dmaBuf: ask('dma-buf'), region: ask('region') };
  }

  /**
   * Returns the current content of a plane (VFIO_DEVICE_QUERY_GFX_PLANE). Undefined: the plane shows nothing.
   *
   * @param kind default: the kind that {@link probe} reports
   * @throws KernelError EINVAL: the device does not support this kind, or is not bound. ENOTTY: not a display. ENOMEM:
   *   can also occur with Linux's sample driver mbochs on the first query of a new image. Query again.
   */
  plane(name: GfxPlaneName = 'primary', opts?: { kind?: GfxKind }): GfxPlane | undefined {
    const number = planes.indexOf(oneOf(name, 'name', planes));
    const given = options(opts, ['kind']).kind;
    const kind =
      given === undefined
        ? this.probe().dmaBuf
          ? 'dma-buf'
          : 'region'
        : oneOf(given, 'kind', Object.keys(kinds) as GfxKind[]);
    const args = { ...this.#device.args(), plane: name, kind };
    return toPlane(
      kind,
      kernelCall(args, () => native.gfxPlane(this.#device.handle, kinds[kind], number)),
    );
  }

  /**
   * Returns the pixels of a plane at the time of the query (VFIO_DEVICE_GET_GFX_DMABUF).
   *
   * Call this only once per plane and share the dma-buf: Linux's sample driver mbochs returns another fd without taking
   * another reference.
   *
   * @param plane a plane of kind 'dma-buf', or its id
   * @throws KernelError ENOENT: the display no longer has the image. EINVAL: the image does not start on a page
   *   boundary, or the device is not bound. ENOTTY: the device does not provide dma-bufs.
   */
  dmaBuf(plane: Pick<GfxPlane, 'id'> | number): DmaBuf {
    const id = integer(typeof plane === 'number' ? plane : fields(plane, 'plane').id, 'plane', 0, 0xffff_ffff);
    const args = { ...this.#device.args(), id };
    return new DmaBuf(
      key,
      this.#device.kernel,
      kernelCall(args, () => native.gfxDmaBuf(this.#device.handle, id)),
    );
  }
}

function toPlane(kind: GfxKind, { format: fourcc, ...plane }: NativePlane): GfxPlane | undefined {
  if (plane.width === 0 || plane.height === 0) return undefined;
  const characters = [0, 8, 16, 24].map((shift) => String.fromCharCode((fourcc >>> shift) & 0xff)).join('');
  return data({ kind, format: characters, fourcc, ...plane });
}
