// Finds why vfio-pci rejects an interrupt configuration.
import type { Look } from '../../errors/around';
import { linked } from '../../kernel/look';

/** EINVAL of VFIO_DEVICE_SET_IRQS (vfio_set_irqs_validate_and_prepare(), vfio_pci_intrs.c). */
export const refusedInterrupts: Look = ({ action }, { interrupts, isBound }) => {
  if (isBound?.() === false) return 'the device is not bound to an iommufd: bind() first';
  if (!interrupts) return undefined;
  const { index, start, count, fds } = interrupts;
  const { name, device, info } = index;
  if (info.count === 0) return `the device has no ${name} interrupt`;
  if (start + count > info.count) {
    return `the device has ${String(info.count)} ${name} vector${info.count === 1 ? '' : 's'}, counted from 0`;
  }
  const other = [...device.interrupts].find(
    ({ index: number, enabled }) => enabled && number !== index.index && number < 3,
  );
  if (other && index.index < 3)
    return `${other.name} is enabled, and only one of INTx, MSI and MSI-X can be: disable() it first`;
  if (!index.enabled && action !== 'trigger') return `${name} is not enabled: enable() it first`;
  const bad = fds.find((fd) => linked(`/proc/self/fd/${String(fd)}`) !== 'anon_inode:[eventfd]');
  if (bad !== undefined) return `fd ${String(bad)} is not an eventfd`;
  if (info.noresize && index.enabled && start + count > index.allocated) {
    return (
      `${name} was enabled with ${String(index.allocated)} vectors, and this device can have no others (noresize): ` +
      'disable() it and enable them all in one call'
    );
  }
  return index.enabled ? undefined : `${name} is not enabled: enable() it first`;
};
