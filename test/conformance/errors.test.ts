// Hints of errors. The library determines an error's cause from the kernel's state, so the hints must be equal on every
// kernel.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DmaMemory, Iommufd, KernelError, VfioDevice } from '../../lib';
import { openFile } from '../cleanup';
import { typescript } from '../typescript';
import { conforms, conformsOnlyOn, observe, refuses, unlessFailing } from './record';
import { addresses, cmb, MiB, page, useRig } from './rig';

/** Asserts that the call fails with `code`, and with the same hint on every kernel. */
async function hinted(code: string, hint: RegExp, call: () => unknown): Promise<void> {
  const error = await refuses(code, call);
  assert(error instanceof KernelError);
  const text = observe(error.hint) ?? '';
  unlessFailing(() => assert.match(text, hint));
}

describe('the cause of an error', () => {
  const rig = useRig('ssd', 'engine', 'ports');
  const buffer = (length = MiB) => rig.exported('ssd', cmb.region, length);

  conforms('of IOVAs that cannot be: misaligned, or outside the ranges', async () => {
    await rig.device('engine').attach(rig.ioas);
    await hinted('EINVAL', /^iova 0x1000100 is not a multiple/, () =>
      rig.ioas.mapDmaBuf(buffer(), { iova: 0x100_0100n }),
    );
    await hinted('EINVAL', /^length 0x64 is not a multiple/, () =>
      rig.ioas.mapDmaBuf(buffer(), { iova: 0, length: 100 }),
    );
    await hinted('EINVAL', /^offset 0x64 is not a multiple/, () =>
      rig.ioas.mapDmaBuf(buffer(), { iova: 0n, offset: 100n, length: page }),
    );
    await hinted('EINVAL', /0xfee00000-0xfeefffff are not inside .*usable ranges: 0x0-0xfedfffff, 0xfef00000-/, () =>
      rig.ioas.mapDmaBuf(buffer(), { iova: 0xfee0_0000n }),
    );
    await hinted('EINVAL', /^offset 0x1 is not a multiple/, () =>
      rig.ioas.mapMemory(rig.keep(DmaMemory.alloc(65536)), { iova: 0n, offset: 1, length: 4096 }),
    );
  });

  conforms('of IOVAs that are taken, of a range that cuts a mapping, and of a length that finds no room', async () => {
    await rig.device('engine').attach(rig.ioas);
    rig.ioas.mapDmaBuf(buffer(), { iova: 0x100_0000n });
    await hinted('EEXIST', /^the mapping at IOVAs 0x1000000-0x10fffff/, () =>
      rig.ioas.mapDmaBuf(buffer(), { iova: 0x100_0000n - page }),
    );
    await hinted('ENOENT', /^the range cuts the mapping at IOVAs 0x1000000-/, () => rig.ioas.unmap(0x100_0000n, page));
    await hinted('ENOSPC', /^the IOAS's largest usable range/, () =>
      rig.ioas.mapFile(rig.keep(DmaMemory.alloc(4096)).fd, { length: 1n << 40n }),
    );
  });

  conforms('of files that cannot be pinned', async () => {
    await rig.device('engine').attach(rig.ioas);
    const memory = rig.keep(DmaMemory.alloc(65536));
    await hinted('EINVAL', /^offset plus length, 0x20000, reaches past the end of the memfd, 0x10000$/, () =>
      rig.ioas.mapFile(memory.fd, { iova: 0n, length: 131072 }),
    );
    const file = openFile('/proc/self/exe');
    await hinted('EINVAL', /^the file is no memfd/, () =>
      rig.ioas.mapFile(file, { iova: 0n, length: 4096, access: 'r' }),
    );
  });

  conforms('of dma-bufs that cannot be imported', async () => {
    const host = rig.keep(rig.keep(DmaMemory.alloc(65536)).exportDmaBuf());
    await hinted('EOPNOTSUPP', /^the dma-buf is from udmabuf/, () => rig.ioas.mapDmaBuf(host));
    const exported = buffer();
    rig.device('ssd').command.memory = false;
    await hinted('ENODEV', /^the dma-buf is revoked/, () => rig.ioas.mapDmaBuf(exported));
  });

  conforms('of ranges that cannot be exported', async () => {
    const wrong = (region: number, offset: bigint, length: bigint, role: 'ssd' | 'ports' = 'ssd') =>
      rig.device(role).exportDmaBuf({ region, offset, length });
    await hinted('EINVAL', /^range 0 \(offset 0x64, length 0x1000\) is not page aligned$/, () => wrong(2, 100n, page));
    await hinted('EINVAL', /reaches past the end of BAR 2, 0x1000000$/, () => wrong(2, cmb.size, page));
    await hinted('EINVAL', /^BAR 1 is I\/O ports/, () => wrong(1, 0n, page, 'ports'));
    await hinted('ENODEV', /^region 6 is no BAR/, () => wrong(6, 0n, page));
    await hinted('ENODEV', /^the device has no BAR 3/, () => wrong(3, 0n, page));
    using unbound = await VfioDevice.open(addresses.display);
    await hinted('EINVAL', /bind\(\) first/, () => unbound.exportDmaBuf({ region: 0, offset: 0n, length: page }));
  });

  conforms('of a device that cannot attach where a mapping is in its reserved IOVAs', async () => {
    rig.ioas.mapDmaBuf(buffer(page), { iova: 0xfee0_0000n });
    await hinted('EADDRINUSE', /^the mapping at IOVAs 0xfee00000-0xfee00fff lies in .* \(msi\)/, () =>
      rig.device('engine').attach(rig.ioas),
    );
    rig.ioas.unmap();
    // Beyond the IOMMU's address width, which no reserved region shows.
    rig.ioas.mapDmaBuf(buffer(page), { iova: 1n << 48n });
    await hinted('EADDRINUSE', /^a mapping of the IOAS lies where/, () => rig.device('engine').attach(rig.ioas));
  });

  conforms('of a device that is bound already, here or elsewhere', async () => {
    await hinted('EINVAL', /^this device is bound already/, () => rig.device('engine').bind(rig.iommufd));
    const error = await refuses('EINVAL', () => VfioDevice.open(addresses.engine, { iommufd: rig.iommufd }));
    unlessFailing(() => assert.match(error.message, /another open .*fuser -v \/dev\/vfio\/devices\/vfio\d/));
  });

  conforms('of a region where memory is wanted', async () => {
    const region = rig.device('ssd').region(cmb.region);
    for (const wrong of [rig.device('ssd'), region, region.map()]) {
      const error = await refuses('ERR_INVALID_ARG_TYPE', () => rig.ioas.mapMemory(wrong as never));
      assert.match(error.message, /cannot be pinned.*exportDmaBuf\(\)/);
    }
  });
});

describe('an error of the system', () => {
  /** The error of an unprivileged process under a limit of locked memory. */
  function told(limit: string, ...args: string[]): { code: string; hint: string } {
    const program = [process.execPath, ...typescript, join(__dirname, 'as-nobody.ts'), ...args];
    const child = spawnSync('prlimit', [`--memlock=${limit}`, ...program], { encoding: 'utf8' });
    assert.equal(child.status, 0, child.stderr);
    return JSON.parse(child.stdout) as { code: string; hint: string };
  }
  const onReal = (title: string, body: () => Promise<void> | void) =>
    conformsOnlyOn('system', 'the fake kernel has no users and no limits', title, body);

  onReal('EACCES: names the owner and the mode, and gives a udev rule', () => {
    const iommu = told('65536', 'open', '/dev/iommu');
    assert.equal(observe(iommu.code), 'EACCES');
    assert.match(
      iommu.hint,
      /^\/dev\/iommu belongs to root:root with mode 06\d0, .* user nobody .* echo 'SUBSYSTEM=="misc", KERNEL=="iommu", GROUP="\w+", MODE="0660"' > /,
    );
    const cdev = told('65536', 'open', `/dev/vfio/devices/${readdirSync('/dev/vfio/devices')[0] ?? ''}`);
    assert.equal(observe(cdev.code), 'EACCES');
    assert.match(cdev.hint, /echo 'SUBSYSTEM=="vfio-dev", GROUP="\w+", MODE="0660"' > /);
  });

  onReal('ENOMEM: RLIMIT_MEMLOCK, with what is pinned and what is needed', () => {
    const { code, hint } = observe(told('1048576:1048576', 'pin', addresses.engine, '1048576'));
    assert.equal(code, 'ENOMEM');
    assert.match(hint, /^RLIMIT_MEMLOCK is 1048576 bytes .* has 4096 bytes .* needs 1048576 bytes .* to 1052672 bytes/);
  });

  onReal('ENOMEM at attach: that is when memory is pinned which was mapped before', () => {
    const { code, hint } = observe(told('65536:65536', 'attach', addresses.engine, '1048576'));
    assert.equal(code, 'ENOMEM');
    assert.match(hint, /^RLIMIT_MEMLOCK is 65536 bytes .* needs 1048576 bytes/);
  });

  onReal('EBUSY: the group is open through the older interface', async () => {
    const group = basename(readlinkSync(`/sys/bus/pci/devices/${addresses.engine}/iommu_group`));
    openFile(`/dev/vfio/${group}`, 'r+');
    using iommufd = Iommufd.open();
    const error = await refuses('EBUSY', () => VfioDevice.open(addresses.engine, { iommufd }));
    assert(error.message.includes(`fuser -v /dev/vfio/${group}`), error.message);
  });
});
