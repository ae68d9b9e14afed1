// Finds why a bind requires another VF token, or none.
import { join } from 'node:path';
import type { Arguments, Around } from '../../errors/around';
import { linked } from '../../kernel/look';

/** EACCES at bind of a virtual function, or of a physical function while its virtual functions are in use. */
export function wantsToken({ device, vfToken }: Arguments, { kernel }: Around): string | undefined {
  if (device === undefined || !kernel) return undefined;
  const physical = linked(join(kernel.sysfs, 'bus/pci/devices', device, 'physfn'));
  const whose =
    physical === undefined
      ? 'virtual functions of this device are in use: they know'
      : `this is an SR-IOV virtual function of ${physical}: who holds that one knows`;
  return vfToken === undefined
    ? `${whose} the VF token (setVfToken()); pass it as vfToken`
    : `this is not the VF token: ${whose} it (setVfToken())`;
}
