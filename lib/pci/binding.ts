// Binds a PCI device to vfio-pci and restores its previous driver.
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { noIommu } from './iommu-group';
import { attempt, linked, list, text } from '../kernel/look';
import { codedError } from '../errors/errors';
import { defaultKernel } from '../kernel/default-kernel';
import { boolean, options, string } from '../errors/validate';
import { inUse, usersOf } from './in-use';
import { toAddress } from './sysfs';

const vfio = 'vfio-pci';
/** The folder, below the root of a host, that stores the previous driver of each device. It is gone after a restart, as the bindings are. */
const memory = 'run/vfio-dmabuf/drivers';

/** That folder of the host whose sysfs this is. A fake host, and a copy of another host, have their own. */
const memoryOf = (sysfs: string) => join(dirname(sysfs), memory);

/** A step: write `value` to `file`; undefined: remove the file. */
export interface BindingStep {
  file: string;
  value: string | undefined;
}

/** The plan for changing a device's driver. */
export interface BindingPlan {
  /** The device's PCI address. */
  address: string;
  /** The current driver. */
  from: string | undefined;
  /** The new driver; undefined: the driver that the kernel chooses, if any. */
  to: string | undefined;
  /** The steps in order. Empty: nothing to do. */
  steps: BindingStep[];
  /** Reasons against the change: uses of the device that it would interrupt. */
  objections: string[];
}

/** Options for binding and unbinding. */
export interface BindingOptions {
  /** The path of sysfs. Default: that of the kernel that VFIO_DMABUF_KERNEL selects, which is /sys for the system's. */
  sysfs?: string;
  /** Whether to ignore the objections. Default: false. */
  force?: boolean;
}

interface Place {
  sysfs: string;
  address: string;
  folder: string;
  driver: string | undefined;
  remembered: string;
}

function toPlace(address: string, sysfs: string): Place {
  const full = toAddress(string(address, 'address'));
  const folder = join(sysfs, 'bus/pci/devices', full);
  if (!existsSync(folder)) throw codedError('ERR_NO_SUCH_DEVICE', `there is no PCI device ${full}`);
  return {
    sysfs,
    address: full,
    folder,
    driver: linked(join(folder, 'driver')),
    remembered: join(memoryOf(sysfs), full),
  };
}

const release = ({ folder, driver, address }: Place): BindingStep[] =>
  driver === undefined ? [] : [{ file: join(folder, 'driver/unbind'), value: address }];

/**
 * Returns the plan of {@link bindToVfio} without changing anything.
 *
 * @throws Error ERR_NO_SUCH_DEVICE. ERR_UNKNOWN_KERNEL: VFIO_DMABUF_KERNEL has no valid value. ERR_NO_VFIO_PCI: the driver is not loaded. ERR_NO_IOMMU: the device has no IOMMU to
 *   protect memory from it, so VFIO cannot use it.
 */
export function planBind(address: string, opts?: BindingOptions): BindingPlan {
  const { sysfs = defaultKernel().sysfs } = options(opts);
  const place = toPlace(address, string(sysfs, 'sysfs'));
  const { folder, driver, remembered } = place;
  const plan = { address: place.address, from: driver, to: vfio };
  if (driver === vfio) return { ...plan, steps: [], objections: [] };
  if (!existsSync(join(sysfs, 'bus/pci/drivers', vfio))) {
    throw codedError('ERR_NO_VFIO_PCI', 'the driver vfio-pci is not loaded; as root: modprobe vfio-pci');
  }
  const unprotected = noIommu(sysfs, place.address);
  if (unprotected !== undefined)
    throw codedError('ERR_NO_IOMMU', `VFIO takes only devices behind an IOMMU: ${unprotected}`);
  const steps = [
    ...(driver === undefined ? [] : [{ file: remembered, value: driver }]),
    { file: join(folder, 'driver_override'), value: vfio },
    ...release(place),
    { file: join(sysfs, 'bus/pci/drivers_probe'), value: place.address },
  ];
  return { ...plan, steps, objections: inUse(sysfs, place.address) };
}

/** Returns the plan of {@link unbindFromVfio} without changing anything. */
export function planUnbind(address: string, opts?: BindingOptions): BindingPlan {
  const { sysfs = defaultKernel().sysfs } = options(opts);
  const place = toPlace(address, string(sysfs, 'sysfs'));
  const { folder, driver, remembered } = place;
  const old = text(remembered).trim() || undefined;
  const plan = { address: place.address, from: driver, to: old };
  if (driver !== vfio) return { ...plan, to: driver, steps: [], objections: [] };
  const oldDriver = old === undefined ? undefined : join(sysfs, 'bus/pci/drivers', old);
  const rebind =
    oldDriver !== undefined && existsSync(oldDriver) ? join(oldDriver, 'bind') : join(sysfs, 'bus/pci/drivers_probe');
  const steps = [
    { file: join(folder, 'driver_override'), value: '\n' },
    ...release(place),
    { file: rebind, value: place.address },
    ...(old === undefined ? [] : [{ file: remembered, value: undefined }]),
  ];
  const nodes = join(folder, 'vfio-dev');
  const users = list(nodes).flatMap((name) => usersOf(join(nodes, name)));
  const objections =
    users.length === 0 ? [] : [`processes have it open: ${users.join(', ')}; unbinding waits for them`];
  return { ...plan, steps, objections };
}

function take({ file, value }: BindingStep): void {
  if (value === undefined) {
    rmSync(file, { force: true });
    return;
  }
  if (dirname(file).endsWith(`/${memory}`)) mkdirSync(dirname(file), { recursive: true });
  try {
    writeFileSync(file, value);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    const hint = code === 'EACCES' || code === 'EPERM' ? ': only root may' : '';
    throw codedError(code, `cannot write ${value.trim()} to ${file} (${code})${hint}`, error);
  }
}

function refuseIfInUse({ address, objections }: BindingPlan, force: boolean): void {
  if (objections.length > 0 && !force) {
    throw codedError('ERR_IN_USE', `${address} is in use: ${objections.join('; ')}`);
  }
}

function carryOut(plan: BindingPlan, sysfs: string): BindingPlan {
  for (const step of plan.steps) take(step);
  const driver = linked(join(sysfs, 'bus/pci/devices', plan.address, 'driver'));
  if (plan.steps.length > 0 && plan.to !== undefined && driver !== plan.to) {
    throw codedError(
      'ERR_NOT_BOUND',
      `${plan.address} is bound to ${driver ?? 'no driver'} after all, not to ${plan.to}`,
    );
  }
  return plan;
}

/** Undoes the completed steps of a failed bind, as far as possible. */
function undoBind({ address, from }: BindingPlan, sysfs: string): void {
  const folder = join(sysfs, 'bus/pci/devices', address);
  const steps: BindingStep[] = [
    { file: join(folder, 'driver_override'), value: '\n' },
    ...(from === undefined || linked(join(folder, 'driver')) !== undefined
      ? []
      : [{ file: join(sysfs, 'bus/pci/drivers', from, 'bind'), value: address }]),
    { file: join(memoryOf(sysfs), address), value: undefined },
  ];
  for (const step of steps) attempt(() => take(step));
}

/**
 * Binds a device to vfio-pci with driver_override, and stores its previous driver. Does nothing if the device is bound
 * to vfio-pci.
 *
 * @returns the executed plan
 * @throws Error ERR_IN_USE: a disk that is mounted or claimed, a network interface that is up, the boot display or a
 *   bridge, unless `force` is set. Errors of {@link planBind}. EACCES: not root. ERR_NOT_BOUND: vfio-pci rejected the
 *   device; its previous driver is restored.
 */
export function bindToVfio(address: string, opts?: BindingOptions): BindingPlan {
  const { sysfs = defaultKernel().sysfs, force = false } = options(opts);
  const plan = planBind(address, { sysfs });
  refuseIfInUse(plan, boolean(force, 'force'));
  try {
    return carryOut(plan, sysfs);
  } catch (error) {
    undoBind(plan, sysfs);
    throw error;
  }
}

/**
 * Unbinds a device from vfio-pci and restores the driver that {@link bindToVfio} stored. Without a stored driver, the
 * kernel chooses one. Does nothing if the device is not bound to vfio-pci.
 *
 * @throws Error ERR_IN_USE: a process has the device open, unless `force` is set; then the call waits until the device
 *   is closed. EACCES: not root.
 */
export function unbindFromVfio(address: string, opts?: BindingOptions): BindingPlan {
  const { sysfs = defaultKernel().sysfs, force = false } = options(opts);
  const plan = planUnbind(address, { sysfs });
  refuseIfInUse(plan, boolean(force, 'force'));
  return carryOut(plan, sysfs);
}
