// Migration: VFIO's migration states, and moving a device's state to another device.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { attempt } from '../kernel/look';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { native } from '../addon/native';
import { boolean, fields, instance, oneOf, option } from '../errors/validate';
import { MigrationData, streamOptions, type MoveOptions, type StreamOptions } from './migration-data';
import type { DeviceFile } from './device-file';
import type { Power } from './power';

/** The index is the number in linux/vfio.h. */
const states = [
  'error',
  'stop',
  'running',
  'stop-copy',
  'resuming',
  'running-p2p',
  'pre-copy',
  'pre-copy-p2p',
] as const;

/**
 * A device's migration state.
 * 'running': normal operation. 'running-p2p': running, but the device starts no DMA to its peers. 'pre-copy',
 * 'pre-copy-p2p': like these two, while the device's state is being saved. 'stop': stopped. 'stop-copy': stopped, while
 * the state is being saved. 'resuming': stopped, while saved state is being loaded. 'error': a state change failed
 * halfway, and the device must be reset.
 */
export type MigrationState = (typeof states)[number];

const flags = { stopCopy: 1n << 0n, p2p: 1n << 1n, preCopy: 1n << 2n } as const;
const saving: readonly MigrationState[] = ['stop-copy', 'pre-copy', 'pre-copy-p2p'];

/** The migration features of a device. */
export interface MigrationCapabilities {
  /** Stop, save and resume. All devices with migration support this. */
  stopCopy: boolean;
  /** Stop DMA to peers first: 'running-p2p'. */
  p2p: boolean;
  /** Save while the device runs: 'pre-copy'. */
  preCopy: boolean;
  /** The states that the device can be set to. */
  states: MigrationState[];
  /** All flag bits, as the kernel reported them. */
  flags: bigint;
}

/** A device's migration. If the driver does not support it, all methods throw ENOTTY. */
export class Migration {
  readonly #device: DeviceFile;
  readonly #power: Power;
  readonly #data = new Set<MigrationData>();

  static {
    shown(this, ['device', ({ address }) => address]);
  }

  /** @internal */
  constructor(made: Key, device: DeviceFile, power: Power) {
    onlyInside(made, 'Migration', 'use VfioDevice#migration');
    this.#device = device;
    this.#power = power;
    device.whenChanged = () => this.wake();
  }

  /** The device's address. @internal */
  get address(): string | undefined {
    return this.#device.address;
  }

  /**
   * Returns the migration features of the device (VFIO_DEVICE_FEATURE_MIGRATION).
   *
   * @throws KernelError ENOTTY: the device does not support migration. EINVAL: not bound.
   */
  capabilities(): MigrationCapabilities {
    const word = kernelCall(this.#args(), () => native.migrationFlags(this.#device.handle));
    const [stopCopy, p2p, preCopy] = [flags.stopCopy, flags.p2p, flags.preCopy].map((flag) => (word & flag) !== 0n) as [
      boolean,
      boolean,
      boolean,
    ];
    const able: Partial<Record<MigrationState, boolean>> = {
      error: false,
      'running-p2p': p2p,
      'pre-copy': preCopy,
      'pre-copy-p2p': p2p && preCopy,
    };
    return data({ stopCopy, p2p, preCopy, states: states.filter((state) => able[state] ?? stopCopy), flags: word });
  }

  /** The device's current state (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE). */
  get state(): MigrationState {
    const number = kernelCall(this.#args(), () => native.migrationState(this.#device.handle));
    return states[number] ?? 'error';
  }

  /**
   * Sets the device's state (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE). The kernel may go through intermediate states. If
   * the new state moves data ('stop-copy', 'pre-copy', 'pre-copy-p2p', 'resuming'), returns the object to read or write
   * them. From a 'pre-copy' state to 'stop-copy', the existing object stays in use, and undefined is returned.
   *
   * After an error, {@link state} returns the current state. It can be an intermediate state, or 'error', which only a
   * reset leaves.
   *
   * @throws KernelError EINVAL: the device does not support the state, or the state cannot be reached ('error', or
   *   'pre-copy' from 'stop-copy'), or the data that were written in 'resuming' are incomplete.
   */
  async setState(state: MigrationState): Promise<MigrationData | undefined> {
    const [device, number] = [this.#device.handle, toNumber(state)];
    try {
      const call = kernelCallAsync(
        this.#args(state),
        () => native.migrationSetState(device, number, true),
        this.#around(),
      );
      const fd = await this.#device.track(call);
      return fd && this.#adopt(state, fd);
    } finally {
      this.wake();
    }
  }

  /** Synchronous version of {@link setState}. */
  setStateSync(state: MigrationState): MigrationData | undefined {
    const number = toNumber(state);
    try {
      const set = () => native.migrationSetState(this.#device.handle, number, false);
      const fd = kernelCall(this.#args(state), set, this.#around());
      return fd && this.#adopt(state, fd);
    } finally {
      this.wake();
    }
  }

  #adopt(state: MigrationState, fd: Parameters<typeof native.fdClose>[0]): MigrationData {
    const data = new MigrationData(key, this, saving.includes(state) ? 'save' : 'resume', fd);
    if (this.#device.closed) {
      data.close();
      throw closedError('VFIO device');
    }
    this.#data.add(data);
    this.#device.adopt(data);
    return data;
  }

  /**
   * Returns the driver's estimate of the bytes that {@link save} will read from the stopped device
   * (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE).
   */
  dataSize(): bigint {
    return kernelCall(this.#args(), () => native.migrationDataSize(this.#device.handle));
  }

  /**
   * Makes {@link MigrationData.precopyInfo} report new initial data, until the device is closed
   * (VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2).
   *
   * @throws KernelError EINVAL: the device does not support pre-copy, or the kernel does not support the feature.
   */
  enableReinit(): void {
    kernelCall(this.#args(), () => native.migrationEnablePrecopyInfo2(this.#device.handle));
  }

  /**
   * Stops the device and returns a stream of its state. With `preCopy`, the stream starts while the device still runs
   * ('idle' is emitted when there is no more data yet), and ends after `setState('stop-copy')`. Afterwards, or to
   * cancel, set the state to 'running' or 'stop'.
   *
   * @throws Error ERR_MIGRATION_BUSY: the device's state is being moved already.
   */
  async save(opts?: StreamOptions & { preCopy?: boolean }): Promise<Readable> {
    const settings = streamOptions(opts, 'preCopy');
    const preCopy = boolean(option(opts, 'preCopy') ?? false, 'preCopy');
    const data = await this.#begin(preCopy ? 'pre-copy' : 'stop-copy', settings.signal);
    return data.readable(settings);
  }

  /**
   * Stops the device and returns a stream that loads saved state. When the stream has finished, set the state to
   * 'running' or 'stop'. The device then applies the state. This fails with EINVAL if the state is not valid.
   *
   * @throws Error ERR_MIGRATION_BUSY: the device's state is being moved already.
   */
  async resume(opts?: StreamOptions): Promise<Writable> {
    const settings = streamOptions(opts);
    const data = await this.#begin('resuming', settings.signal);
    return data.writable(settings);
  }

  async #begin(state: MigrationState, signal?: AbortSignal): Promise<MigrationData> {
    signal?.throwIfAborted();
    const data = await this.setState(state);
    if (!data) throw codedError('ERR_MIGRATION_BUSY', `the device was in state '${state}' or on the way there already`);
    return data;
  }

  /**
   * Moves the state to another device of the same kind. Afterwards, this device is in state 'stop'. If the move fails
   * or is aborted, this device returns to its previous state, and the target is reset.
   *
   * @throws the errors of {@link setState}, {@link MigrationData.read} and {@link MigrationData.write}, and the
   *   signal's AbortError.
   */
  async moveTo(target: { readonly migration: Migration }, opts?: MoveOptions): Promise<void> {
    const to = instance(fields(target, 'target').migration, 'target.migration', Migration);
    const settings = streamOptions(opts, 'preCopy', 'start');
    const preCopy = boolean(option(opts, 'preCopy') ?? false, 'preCopy');
    const start = boolean(option(opts, 'start') ?? true, 'start');
    const { pipeline } = await import('node:stream/promises'); // only when needed: it is large
    const before = this.state;
    const streams: (Readable | Writable)[] = [];
    try {
      const source = await this.save({ ...settings, preCopy });
      streams.push(source);
      const sink = await to.resume(settings);
      streams.push(sink);
      const moved = pipeline(source, sink);
      moved.catch(() => undefined); // awaited below
      if (preCopy) {
        await Promise.race([once(source, 'idle'), moved]);
        await this.setState('stop-copy');
      }
      await moved;
      await Promise.all(streams.map(discard));
      await to.setState(start ? 'running' : 'stop');
      await this.setState('stop');
    } catch (error) {
      await Promise.all(streams.map(discard));
      await to.#giveUp(streams.length > 1);
      await this.#goBack(before);
      throw error;
    }
  }

  /** Resets the target of a move that failed. Errors are ignored: moveTo() reports the first error. */
  async #giveUp(begun: boolean): Promise<void> {
    if (!begun || this.#device.closed) return;
    await this.#power.reset().catch(() => undefined);
  }

  async #goBack(state: MigrationState): Promise<void> {
    if (attempt(() => this.state) !== state) await this.setState(state).catch(() => undefined);
  }

  /** Called when the state may have changed. Readers that wait for more data check again. @internal */
  wake(): void {
    for (const data of this.#data) data.wake();
  }

  /** @internal */
  forget(data: MigrationData): void {
    this.#data.delete(data);
    this.#device.forget(data);
  }

  #args(state?: MigrationState) {
    return state === undefined ? this.#device.args() : { ...this.#device.args(), state };
  }

  #around() {
    return {
      ...this.#device.around(),
      state: () => this.state,
      states: () => this.capabilities().states,
    };
  }
}

function toNumber(state: MigrationState): number {
  return states.indexOf(oneOf(state, 'state', states));
}

/** Resolves when the stream's file is closed. */
async function discard(stream: Readable | Writable): Promise<void> {
  stream.on('error', () => undefined).destroy();
  if (!stream.closed) await new Promise((resolve) => stream.once('close', resolve));
}
