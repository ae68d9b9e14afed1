// What a virtual display shows: planes, as dma-bufs or as regions of the device.
import { DmaBuf } from '../dmabuf/dma-buf';
import { kernelCall } from '../errors/errors';
import { native, type NativePlane } from '../addon/native';
import { integer, oneOf, options } from '../errors/validate';
import type { DeviceFile } from './device-file';

const planes = ['overlay', 'primary', 'cursor'] as const; // in the order of DRM's numbers
const kinds = { 'dma-buf': 1 << 1, region: 1 << 2 } as const; // linux/vfio.h

/** Which plane of a display. */
export type GfxPlaneName = (typeof planes)[number];

/** How a device shows its planes. */
export type GfxKind = keyof typeof kinds;

/** What a plane shows. */
export interface GfxPlane {
  /** 'dma-buf': {@link Gfx.dmaBuf} gets the picture. 'region': it is in a region of the device. */
  kind: GfxKind;
  /** The pixels' format, as DRM's four characters: 'XR24' is 32 bits a pixel, X, red, green and blue. */
  format: string;
  /** The same as a number. */
  fourcc: number;
  /** How the pixels are laid out (DRM's modifier): 0, line by line. */
  modifier: bigint;
  /** In pixels. */
  width: number;
  height: number;
  /** Bytes from line to line. */
  stride: number;
  /** In bytes. */
  size: number;
  /** Where a cursor plane is, and in it the spot that it points with; in pixels. */
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

  /** @internal */
  constructor(device: DeviceFile) {
    this.#device = device;
  }

  /** How the device shows its planes (VFIO_DEVICE_QUERY_GFX_PLANE): both false, it is no display. */
  probe(): { dmaBuf: boolean; region: boolean } {
    const ask = (kind: GfxKind) =>
      kernelCall(this.#device.args(), () => native.gfxProbe(this.#device.handle, kinds[kind]));
    return { dmaBuf: ask('dma-buf'), region: ask('region') };
  }

  /**
   * What a plane shows now (VFIO_DEVICE_QUERY_GFX_PLANE); undefined: nothing.
   *
   * @param kind how: what {@link probe} says unless told
   * @throws KernelError EINVAL: not of this kind, or not bound. ENOTTY: not a display. ENOMEM: also from Linux's sample
   *   mbochs, when it is asked for a new picture for the first time: ask again.
   */
  plane(name: GfxPlaneName = 'primary', opts?: { kind?: GfxKind }): GfxPlane | undefined {
    const number = planes.indexOf(oneOf(name, 'name', planes));
    const given = options(opts).kind;
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
   * The picture that a plane showed when it was asked for (VFIO_DEVICE_GET_GFX_DMABUF).
   *
   * Ask for one plane's dma-buf only once and share it: Linux's sample mbochs gives the same reference away twice.
   *
   * @param plane a plane of kind 'dma-buf', or its id
   * @throws KernelError ENOENT: the display has forgotten the picture. EINVAL: it does not begin at a page; or not bound.
   *   ENOTTY: the device shows nothing as dma-bufs.
   */
  dmaBuf(plane: Pick<GfxPlane, 'id'> | number): DmaBuf {
    const id = integer(typeof plane === 'number' ? plane : options(plane, 'plane').id, 'plane', 0, 0xffff_ffff);
    const args = { ...this.#device.args(), id };
    return new DmaBuf(
      this.#device.kernel,
      kernelCall(args, () => native.gfxDmaBuf(this.#device.handle, id)),
    );
  }
}

function toPlane(kind: GfxKind, { format: fourcc, ...plane }: NativePlane): GfxPlane | undefined {
  if (plane.width === 0 || plane.height === 0) return undefined;
  const characters = [0, 8, 16, 24].map((shift) => String.fromCharCode((fourcc >>> shift) & 0xff)).join('');
  return { kind, format: characters, fourcc, ...plane };
}
