// Virtual displays: planes as dma-bufs (Linux's sample mbochs) and as regions (mdpy).
import assert from 'node:assert/strict';
import type { VfioDevice } from '../../lib';
import { closesOnExec } from './fds';
import { conforms, observe, refuses } from './record';
import { useRig } from './rig';

const vbe = { width: 0x502, height: 0x504, bits: 0x506, enable: 0x508, virtualWidth: 0x50c, x: 0x510, y: 0x512 };

/** Sets a display mode. Each case uses a different mode, as the display remembers its planes. */
function setMode(device: VfioDevice, mode: Partial<Record<keyof typeof vbe, number>>): void {
  device.resetSync();
  const registers = device.region(2);
  for (const [name, value] of Object.entries({ bits: 32, enable: 1, ...mode })) {
    registers.write16(vbe[name as keyof typeof vbe], value);
  }
}

describe('a virtual display', () => {
  const rig = useRig('framebuffer', 'panel', 'serial', 'display');
  let display: VfioDevice;
  beforeEach(() => {
    display = rig.device('framebuffer');
  });
  afterEach(() => {
    for (const device of rig.devices) if (device === display) device.resetSync();
  });

  /** Gets the plane. The first call fails with ENOMEM. */
  async function plane() {
    await refuses('ENOMEM', () => display.gfx.plane());
    const found = display.gfx.plane();
    assert(found);
    const { id, ...seen } = found; // ids continue from case to case
    observe(seen);
    return { ...seen, id };
  }

  conforms('says how it shows its planes', () => {
    assert.deepEqual(observe(display.gfx.probe()), { dmaBuf: true, region: false });
    assert.deepEqual(observe(rig.device('panel').gfx.probe()), { dmaBuf: false, region: true });
    assert.deepEqual(observe(rig.device('serial').gfx.probe()), { dmaBuf: false, region: false });
    assert.deepEqual(observe(rig.device('display').gfx.probe()), { dmaBuf: false, region: false });
  });

  conforms('what is no virtual display: ENOTTY', async () => {
    for (const role of ['serial', 'display'] as const) {
      await refuses('ENOTTY', () => rig.device(role).gfx.plane());
      await refuses('ENOTTY', () => rig.device(role).gfx.plane('cursor', { kind: 'dma-buf' }));
      await refuses('ENOTTY', () => rig.device(role).gfx.dmaBuf(1));
    }
    await refuses('ENOTTY', () => rig.device('panel').gfx.dmaBuf(1));
  });

  conforms('shows planes in its own way only: EINVAL', async () => {
    await refuses('EINVAL', () => display.gfx.plane('primary', { kind: 'region' }));
    await refuses('EINVAL', () => rig.device('panel').gfx.plane('primary', { kind: 'dma-buf' }));
    await refuses('ERR_OUT_OF_RANGE', () => display.gfx.plane('secondary' as 'primary'));
    await refuses('ERR_OUT_OF_RANGE', () => display.gfx.plane('primary', { kind: 'texture' as 'region' }));
  });

  conforms('shows nothing before it has a mode, or one that it cannot show', () => {
    assert.equal(observe(display.gfx.plane()), undefined);
    for (const mode of [
      { width: 640, height: 480, enable: 0 },
      { width: 640, height: 480, bits: 16 },
      { width: 63, height: 480 },
      { width: 640, height: 63 },
      { width: 4000, height: 2000 },
      { width: 1024, height: 1000, y: 100 },
    ]) {
      setMode(display, mode);
      assert.equal(observe(display.gfx.plane()), undefined);
    }
  });

  conforms('tells its plane: size, stride and format', async () => {
    setMode(display, { width: 640, height: 480 });
    const shown = await plane();
    assert.equal(shown.format, 'XR24');
    assert.equal(shown.stride, 2560);
    assert.deepEqual(display.gfx.plane('primary', { kind: 'dma-buf' }), shown);
    assert.equal(observe(display.gfx.plane('cursor')), undefined);
    assert.equal(observe(display.gfx.plane('overlay')), undefined);
  });

  conforms('tells another when the mode is another', async () => {
    setMode(display, { width: 320, height: 200 });
    const first = await plane();
    setMode(display, { width: 320, height: 200, virtualWidth: 512 });
    const second = await plane();
    assert.equal(second.stride, 2048);
    setMode(display, { width: 320, height: 200, y: 64 });
    const third = await plane();
    assert.deepEqual(observe([second.id - first.id, third.id - first.id]), [1, 2]);
    setMode(display, { width: 320, height: 200 });
    assert.deepEqual(display.gfx.plane(), first);
  });

  conforms('gives its picture as a dma-buf', async () => {
    setMode(display, { width: 128, height: 128 });
    const shown = await plane();
    const picture = rig.keep(display.gfx.dmaBuf(shown));
    assert.equal(observe(picture.size), 65536n);
    observe(picture.exporterName);
    assert(closesOnExec(picture.fd));
    picture.name = 'a picture';
    assert.equal(observe(picture.name), 'a picture');
    picture.beginCpuAccess('r');
    picture.endCpuAccess('r');
    // IOMMUFD imports dma-bufs of vfio-pci only.
    await refuses('EOPNOTSUPP', () => rig.ioas.mapDmaBuf(picture));
  });

  conforms('gives its picture again when it was closed', async () => {
    setMode(display, { width: 256, height: 100 });
    const shown = await plane();
    const inodes = [];
    for (let i = 0; i < 3; i += 1) {
      using picture = display.gfx.dmaBuf(shown.id);
      observe(picture.size);
      inodes.push(picture.inode);
    }
    assert.equal(observe(new Set(inodes).size), 3);
  });

  conforms('has no picture of this number: ENOENT', async () => {
    await refuses('ENOENT', () => display.gfx.dmaBuf(0));
    await refuses('ENOENT', () => display.gfx.dmaBuf({ id: 0xffff_ffff }));
    await refuses('ERR_OUT_OF_RANGE', () => display.gfx.dmaBuf(-1));
    await refuses('ERR_INVALID_ARG_TYPE', () => display.gfx.dmaBuf('1' as unknown as number));
  });

  conforms('a picture that does not begin at a page has no dma-buf: EINVAL', async () => {
    setMode(display, { width: 640, height: 400, x: 8 });
    const shown = await plane();
    await refuses('EINVAL', () => display.gfx.dmaBuf(shown));
  });

  conforms('shows its plane in a region', () => {
    const panel = rig.device('panel');
    const shown = panel.gfx.plane();
    assert(shown);
    observe(shown);
    const region = panel.region(shown.id);
    assert.equal(observe(region.size), BigInt(shown.size));
    const pixels = rig.keep(region.map());
    observe([0, 240, 479].map((line) => pixels.read32(line * shown.stride)));
    assert.deepEqual(observe(panel.gfx.plane('cursor')), shown);
  });
});
