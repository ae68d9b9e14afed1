// Binds a PCI device to a VFIO driver and restores its previous driver.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { codedError } from '../errors/errors';
import { array, boolean, integer, options, string } from '../errors/validate';
import { defaultKernel } from '../kernel/default-kernel';
import { linked, text } from '../kernel/look';
import { lockFile, memoryDetails, memoryFile, recall, type Remembered } from './binding-memory';
import { BindingLock, refusal, type BindingStep, type Outcome } from './binding-steps';
import { companionsText, inUse, tracesOf, usersOf, type DeviceTraces } from './in-use';
import { noIommu } from './iommu-group';
import { obstacles } from './obstacles';
import { driverInRule, ruleFile, ruleText } from './persistent-binding';
import { toAddress } from './sysfs';
import { wait, waitSync, type Waiting } from './waiting';
import { generic, hasVfioDevice, isHeldByVfio, isVfioDriver, named, vfioDriverFor } from './vfio-driver';

export type { BindingStep };

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
  /** Reasons against the change: uses of the device that it would interrupt, and why VFIO could not use the device. */
  objections: string[];
}

/** Options for binding and unbinding. */
export interface BindingOptions {
  /** The path of sysfs. Default: that of the kernel that VFIO_DMABUF_KERNEL selects, which is /sys for the system's. */
  sysfs?: string;
  /** Whether to ignore the objections. Default: false. */
  force?: boolean;
  /**
   * The VFIO driver. Default: the one whose alias fits the device best, which is vfio-pci for most devices. Only for
   * binding.
   */
  driver?: string;
  /** Whether to bind the device after each restart, too, by a udev rule. Only for binding. Default: false. */
  persist?: boolean;
  /** Devices that are bound in the same step: they are no objection if they are in the same IOMMU group. */
  together?: readonly string[];
  /** How long to wait for the kernel, in milliseconds. Default: 30,000. */
  timeout?: number;
}

const known = ['sysfs', 'force', 'driver', 'persist', 'together', 'timeout'] as const;

const defaultTimeout = 30_000;
const longestTimeout = 2 ** 31 - 1;

interface Settings {
  sysfs: string;
  force: boolean;
  driver: string | undefined;
  persist: boolean;
  together: readonly string[];
  timeout: number;
}

function toSettings(opts: BindingOptions | undefined): Settings {
  const {
    sysfs = defaultKernel().sysfs,
    force = false,
    driver,
    persist = false,
    together = [],
    timeout,
  } = options(opts, known);
  return {
    sysfs: string(sysfs, 'sysfs'),
    force: boolean(force, 'force'),
    driver: driver === undefined ? undefined : string(driver, 'driver'),
    persist: boolean(persist, 'persist'),
    together: array(together, 'together').map((other) => toAddress(string(other, 'together'))),
    timeout: integer(timeout ?? defaultTimeout, 'timeout', 0, longestTimeout),
  };
}

interface Place {
  sysfs: string;
  address: string;
  folder: string;
  driver: string | undefined;
  /** The driver_override, if there is one. */
  override: string | undefined;
  memory: Remembered | 'stale' | undefined;
  rule: string;
}

function toPlace(address: string, sysfs: string): Place {
  const full = toAddress(string(address, 'address'));
  const folder = join(sysfs, 'bus/pci/devices', full);
  if (!existsSync(folder)) throw codedError('ERR_NO_SUCH_DEVICE', `there is no PCI device ${full}`);
  const override = text(join(folder, 'driver_override')).trim();
  return {
    sysfs,
    address: full,
    folder,
    driver: linked(join(folder, 'driver')),
    override: override === '' || override === '(null)' ? undefined : override,
    memory: recall(sysfs, full),
    rule: ruleFile(sysfs, full),
  };
}

const overrideStep = ({ folder }: Place, value: string | undefined): BindingStep => ({
  file: join(folder, 'driver_override'),
  value: value ?? '\n',
});

const release = ({ folder, driver, address }: Place): BindingStep[] =>
  driver === undefined ? [] : [{ file: join(folder, 'driver/unbind'), value: address }];

const probe = ({ sysfs, address }: Place): BindingStep => ({
  file: join(sysfs, 'bus/pci/drivers_probe'),
  value: address,
});

const forget = ({ sysfs, address }: Place): BindingStep => ({ file: memoryFile(sysfs, address), value: undefined });

/** Remembers the current driver. After a bind that was interrupted, the driver that is remembered already stays. */
function remember(place: Place, to: string): BindingStep[] {
  const { sysfs, address, driver, memory } = place;
  if (driver === undefined && typeof memory === 'object') return [];
  const override = place.override !== undefined && isVfioDriver(sysfs, place.override) ? undefined : place.override;
  if (driver === undefined && override === undefined && memory === undefined) return [];
  return [
    {
      file: memoryFile(sysfs, address),
      value: driver ?? '',
      details: memoryDetails(sysfs, address, override, to),
    },
  ];
}

/** Returns the driver that is remembered, by `bind` or by the udev rule. */
function previous({ sysfs, address, memory, driver }: Place): string | undefined {
  const known = typeof memory === 'object' ? memory.driver : undefined;
  const before = known ?? driverInRule(sysfs, address);
  return before ?? (isHeldByVfio(sysfs, address) ? undefined : driver);
}

function persistence(place: Place, driver: string): BindingStep[] {
  const content = ruleText(place.sysfs, place.address, named(place.sysfs, driver), previous(place));
  return text(place.rule) === content ? [] : [{ file: place.rule, value: content, details: '' }];
}

/**
 * Returns the plan of {@link bindToVfio} without changing anything.
 *
 * @throws Error ERR_NO_SUCH_DEVICE. ERR_UNKNOWN_KERNEL: VFIO_DMABUF_KERNEL has no valid value.
 *   ERR_NO_VFIO_PCI: the VFIO driver is not loaded, or `driver` is not a VFIO driver and `force` is not set.
 *   ERR_NO_IOMMU: the device has no IOMMU to protect memory from it, so VFIO cannot use it.
 */
export function planBind(address: string, opts?: BindingOptions): BindingPlan {
  return toBindPlan(address, opts, (message) => {
    throw codedError('ERR_NO_VFIO_PCI', message);
  });
}

/** As {@link planBind}, for a dry run: that there is no such VFIO driver is an objection, and no error. @internal */
export function previewBind(address: string, opts?: BindingOptions): BindingPlan {
  return toBindPlan(address, opts, (message) => [message]);
}

const notVfio = (driver: string): string =>
  `${driver === '' ? "''" : driver} is not a VFIO driver: its module has no alias vfio_pci:…, and no device that it has is ` +
  'in class/vfio-dev. Leave the driver out, and the one that fits best is taken';

function toBindPlan(
  address: string,
  opts: BindingOptions | undefined,
  noDriver: (message: string) => string[],
): BindingPlan {
  const settings = toSettings(opts);
  const { sysfs, persist, together } = settings;
  const place = toPlace(address, sysfs);
  const { driver } = place;
  const isDone = driver !== undefined && isHeldByVfio(sysfs, place.address);
  if (driver !== undefined && isDone && (settings.driver === undefined || settings.driver === driver)) {
    const steps = persist ? persistence(place, driver) : [];
    return { address: place.address, from: driver, to: driver, steps, objections: [] };
  }
  const wanted = settings.driver === undefined ? vfioDriverFor(sysfs, place.address) : named(sysfs, settings.driver);
  const instead = wanted.driver === generic ? '' : `, or take the generic driver (${generic})`;
  const missing = wanted.isLoaded
    ? []
    : noDriver(`the driver ${wanted.driver} is not loaded; as root: modprobe ${wanted.module}${instead}`);
  const isOther = wanted.isLoaded && !isVfioDriver(sysfs, wanted.driver) && !hasVfioDevice(sysfs, wanted.driver);
  const other = isOther ? (settings.force ? (text: string) => [text] : noDriver)(notVfio(wanted.driver)) : [];
  const unprotected = noIommu(sysfs, place.address);
  if (unprotected !== undefined)
    throw codedError('ERR_NO_IOMMU', `VFIO takes only devices behind an IOMMU: ${unprotected}`);
  const steps = [
    ...(isDone ? [] : remember(place, wanted.driver)),
    overrideStep(place, wanted.driver),
    ...release(place),
    probe(place),
    ...(persist ? persistence(place, wanted.driver) : []),
  ];
  const companions = companionsText(sysfs, place.address, together);
  const objections = [
    ...missing,
    ...other,
    ...obstacles(sysfs, place.address),
    ...(companions === undefined ? [] : [companions]),
    ...inUse(sysfs, place.address),
  ];
  return { address: place.address, from: driver, to: wanted.driver, steps, objections };
}

/** The steps that bind a device without a driver to the one that it had. */
function restore(place: Place, old: string | undefined): BindingStep[] {
  const { sysfs, address, folder, memory } = place;
  const remembered = typeof memory === 'object' ? memory : undefined;
  if (remembered && remembered.driver === undefined) return [overrideStep(place, remembered.override)];
  const override = remembered?.override;
  const oldDriver = old === undefined ? undefined : join(sysfs, 'bus/pci/drivers', old);
  if (oldDriver !== undefined && existsSync(oldDriver)) {
    const bind = { file: join(oldDriver, 'bind'), value: address };
    return override === undefined || override === old ? [bind] : [bind, overrideStep(place, override)];
  }
  // udev loads the module of the usual driver at this event.
  const load = old === undefined ? [] : [{ file: join(folder, 'uevent'), value: 'add' }];
  return [probe(place), ...load, ...(override === undefined ? [] : [overrideStep(place, override)])];
}

/**
 * Returns the plan of {@link unbindFromVfio} without changing anything.
 *
 * @throws Error ERR_NO_SUCH_DEVICE
 */
export function planUnbind(address: string, opts?: BindingOptions): BindingPlan {
  const { sysfs } = toSettings(opts);
  const place = toPlace(address, sysfs);
  const { driver, memory, override } = place;
  const lasting: BindingStep[] = existsSync(place.rule) ? [{ file: place.rule, value: undefined }] : [];
  const forgotten = memory === undefined ? [] : [forget(place)];
  const held = driver !== undefined && isHeldByVfio(sysfs, place.address);
  const remembered = typeof memory === 'object' ? memory : undefined;
  // A bind or unbind that was interrupted leaves the device without a driver, or with driver_override set.
  const isHalfDone = driver === undefined && remembered !== undefined;
  if (!held && !isHalfDone) {
    const isOurs = override !== undefined && (override === remembered?.to || isVfioDriver(sysfs, override));
    const isOverridden = isOurs && memory !== undefined;
    const cleared = isOverridden ? [overrideStep(place, remembered?.override)] : [];
    const steps = [...lasting, ...cleared, ...forgotten];
    return { address: place.address, from: driver, to: driver, steps, objections: [] };
  }
  const old = remembered ? remembered.driver : driverInRule(sysfs, place.address);
  const isLoaded = old !== undefined && existsSync(join(sysfs, 'bus/pci/drivers', old));
  const first = remembered?.override !== undefined && remembered.override === old ? old : undefined;
  const steps = [...lasting, overrideStep(place, first), ...release(place), ...restore(place, old), ...forgotten];
  const objections = held ? inUse(sysfs, place.address) : [];
  // udev binds a driver whose module is not loaded yet some time later.
  return { address: place.address, from: driver, to: isLoaded ? old : undefined, steps, objections };
}

function refuseIfInUse({ address, objections }: BindingPlan, force: boolean): void {
  if (objections.length > 0 && !force) {
    throw codedError('ERR_IN_USE', `${address} is in use or cannot be used: ${objections.join('; ')}`);
  }
}

/** The undoing of the completed steps of a failed bind, as far as possible. */
function undoSteps({ address, from, steps }: BindingPlan, sysfs: string): BindingStep[] {
  const place = toPlace(address, sysfs);
  const remembered = typeof place.memory === 'object' ? place.memory : undefined;
  const isReleased = from !== undefined && place.driver === undefined;
  return [
    overrideStep(place, remembered?.override),
    ...(isReleased ? [{ file: join(sysfs, 'bus/pci/drivers', from, 'bind'), value: address }] : []),
    ...steps.filter(({ file }) => file === place.rule).map(({ file }) => ({ file, value: undefined })),
    forget(place),
  ];
}

/** The error of steps that did not end in time. It names who has the device. */
function notReleased(
  plan: BindingPlan,
  { sysfs, timeout }: Settings,
  outcome: Outcome & { state: 'waiting' },
  traces: DeviceTraces,
): Error {
  const users = usersOf(sysfs, plan.address, traces);
  const who = users === '' ? 'no process that can be seen has it open' : `it is open by ${users}`;
  return codedError(
    'ERR_IN_USE',
    `${plan.address} did not change its driver within ${String(timeout / 1000)} s, at ${outcome.step.file}: ${who}. The ` +
      `kernel waits until it is closed; process ${String(outcome.pid)} then completes the change`,
  );
}

function* change(
  address: string,
  opts: BindingOptions | undefined,
  toPlan: (address: string, opts?: BindingOptions) => BindingPlan,
  undo: (plan: BindingPlan, sysfs: string) => BindingStep[],
): Waiting<BindingPlan> {
  const settings = toSettings(opts);
  const { sysfs, force, timeout } = settings;
  const first = toPlan(address, opts);
  refuseIfInUse(first, force);
  if (first.steps.length === 0) return first;
  const lock = yield* BindingLock.take(lockFile(sysfs, first.address), first.address, timeout);
  try {
    const plan = toPlan(address, opts); // another process may have changed the driver until now
    refuseIfInUse(plan, force);
    const traces = tracesOf(sysfs, plan.address);
    const outcome = yield* lock.carryOut(plan.steps, timeout);
    if (outcome.state === 'waiting') throw notReleased(plan, settings, outcome, traces);
    const driver = linked(join(sysfs, 'bus/pci/devices', plan.address, 'driver'));
    const isWrong = plan.steps.length > 0 && plan.to !== undefined && driver !== plan.to;
    if (outcome.state === 'done' && !isWrong) return plan;
    yield* lock.carryOut(undo(plan, sysfs), timeout);
    throw outcome.state === 'failed'
      ? refusal(outcome.step, outcome.code)
      : codedError(
          'ERR_NOT_BOUND',
          `${plan.address} is bound to ${driver ?? 'no driver'} after all, not to ${plan.to ?? ''}`,
        );
  } finally {
    lock.release();
  }
}

/**
 * Binds a device to a VFIO driver with driver_override, and stores its previous driver. Does nothing if the device is
 * bound to one. Blocks the thread; another process makes the changes.
 *
 * @returns the executed plan
 * @throws Error ERR_IN_USE: the device is in use (a disk, a network interface that is up, the boot display, a bridge, a
 *   process that has it open) or VFIO could not use it, unless `force` is set; or the kernel has not unbound it within
 *   `timeout`. Errors of {@link planBind}. EACCES: not root. ERR_NOT_BOUND: the driver rejected the device; its previous
 *   driver is restored.
 */
export function bindToVfio(address: string, opts?: BindingOptions): BindingPlan {
  return waitSync(change(address, opts, planBind, undoSteps));
}

/** As {@link bindToVfio}, without blocking the thread. */
export function bindToVfioAsync(address: string, opts?: BindingOptions): Promise<BindingPlan> {
  return wait(change(address, opts, planBind, undoSteps));
}

/**
 * Unbinds a device from its VFIO driver and restores the driver that {@link bindToVfio} stored. Without a stored driver,
 * the kernel chooses one. Completes a change that was interrupted, and removes the udev rule of a persistent binding.
 * Does nothing otherwise. Blocks the thread; another process makes the changes.
 *
 * @throws Error ERR_IN_USE: a process has the device open, unless `force` is set; or the kernel has not unbound it
 *   within `timeout`. EACCES: not root.
 */
export function unbindFromVfio(address: string, opts?: BindingOptions): BindingPlan {
  return waitSync(change(address, opts, planUnbind, () => []));
}

/** As {@link unbindFromVfio}, without blocking the thread. */
export function unbindFromVfioAsync(address: string, opts?: BindingOptions): Promise<BindingPlan> {
  return wait(change(address, opts, planUnbind, () => []));
}
