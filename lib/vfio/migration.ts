// Moving a device's state to another device: VFIO's migration states and what each moves.
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { attempt } from '../kernel/look';
import { closedError, codedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { native } from '../addon/native';
import { boolean, instance, oneOf, options } from '../errors/validate';
import { MigrationData, streamOptions, type StreamOptions } from './migration-data';
import type { DeviceFile } from './device-file';
import type { Power } from './power';

/** In the order of their numbers in linux/vfio.h. */
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
 * A device's migration state. 'running': as ever. 'running-p2p': it starts no DMA to its peers. 'pre-copy': running, its
 * state is being saved; 'pre-copy-p2p' likewise. 'stop': it does nothing. 'stop-copy': stopped, its state is being saved.
 * 'resuming': stopped, another's state is being put in. 'error': a change failed half-way, and only a reset helps.
 */
export type MigrationState = (typeof states)[number];

const flags = { stopCopy: 1n << 0n, p2p: 1n << 1n, preCopy: 1n << 2n } as const;
const saving: readonly MigrationState[] = ['stop-copy', 'pre-copy', 'pre-copy-p2p'];

/** What of migration a device can do. */
export interface MigrationCapabilities {
  /** Stop, save and resume. Every device that migrates can. */
  stopCopy: boolean;
  /** Stop its DMA to peers before the rest: 'running-p2p'. */
  p2p: boolean;
  /** Save while it runs: 'pre-copy'. */
  preCopy: boolean;
  /** The states that it can be put in. */
  states: MigrationState[];
  /** All flag bits, as the kernel gave them. */
  flags: bigint;
}

/** How a device's state is moved. */
export interface MoveOptions extends StreamOptions {
  /** Saves while the device runs, so that it stands still for a shorter time. Default: false. */
  preCopy?: boolean;
  /** Whether the target runs afterwards. Default: true; else it is stopped. */
  start?: boolean;
}

/** A device's migration. Where a driver has none, all methods throw ENOTTY. */
export class Migration {
  readonly #device: DeviceFile;
  readonly #power: Power;
  readonly #data = new Set<MigrationData>();

  /** @internal */
  constructor(device: DeviceFile, power: Power) {
    this.#device = device;
    this.#power = power;
    device.whenChanged = () => this.wake();
  }

  /** The device's. @internal */
  get address(): string | undefined {
    return this.#device.address;
  }

  /**
   * What the device can do (VFIO_DEVICE_FEATURE_MIGRATION).
   *
   * @throws KernelError ENOTTY: it cannot be migrated. EINVAL: not bound.
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
    return { stopCopy, p2p, preCopy, states: states.filter((state) => able[state] ?? stopCopy), flags: word };
  }

  /** The state that the device is in (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE). */
  get state(): MigrationState {
    const number = kernelCall(this.#args(), () => native.migrationState(this.#device.handle));
    return states[number] ?? 'error';
  }

  /**
   * Brings the device to a state (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), through others where the kernel has to. When that
   * begins to move data ('stop-copy', 'pre-copy', 'pre-copy-p2p', 'resuming'), returns what it moves through; from a
   * 'pre-copy' to 'stop-copy' the data of before goes on, and nothing is returned.
   *
   * After an error {@link state} tells where the device is: it may be on the way, or in 'error', and then a reset is the way out.
   *
   * @throws KernelError EINVAL: the device has no such state, or no way leads there ('error'; from 'stop-copy' to
   *   'pre-copy'); or from 'resuming', when what was written is not whole.
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

  /** {@link setState}, waiting. */
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
    const data = new MigrationData(this, saving.includes(state) ? 'save' : 'resume', fd);
    if (this.#device.closed) {
      data.close();
      throw closedError('VFIO device');
    }
    this.#data.add(data);
    this.#device.adopt(data);
    return data;
  }

  /**
   * How many bytes {@link save} will read from the stopped device, by the driver's estimate
   * (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE).
   */
  dataSize(): bigint {
    return kernelCall(this.#args(), () => native.migrationDataSize(this.#device.handle));
  }

  /**
   * From now until the device is closed, {@link MigrationData.precopyInfo} tells new initial bytes
   * (VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2).
   *
   * @throws KernelError EINVAL: no pre-copy, or a kernel that does not know this.
   */
  enableReinit(): void {
    kernelCall(this.#args(), () => native.migrationEnablePrecopyInfo2(this.#device.handle));
  }

  /**
   * Stops the device, and streams its state. With `preCopy` the stream begins while the device still runs ('idle' is
   * emitted when there is no more for now), and ends after `setState('stop-copy')`. Afterwards, or to give it up, set the
   * state to 'running' or 'stop'.
   *
   * @throws Error ERR_MIGRATION_BUSY: its state is being moved already.
   */
  async save(opts?: StreamOptions & { preCopy?: boolean }): Promise<Readable> {
    const settings = streamOptions(opts);
    const preCopy = boolean(options(opts).preCopy ?? false, 'preCopy');
    const data = await this.#begin(preCopy ? 'pre-copy' : 'stop-copy', settings.signal);
    return data.readable(settings);
  }

  /**
   * Stops the device, and takes another's state from a stream. When it has finished, set the state to 'running' or 'stop':
   * the device takes the state over then, and says if it cannot (EINVAL).
   *
   * @throws Error ERR_MIGRATION_BUSY: its state is being moved already.
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
   * Moves the state to another device of the same kind. This one is stopped then ('stop'). When it fails, or is aborted,
   * this one goes on in the state that it was in, and the target is reset.
   *
   * @throws what failed, as {@link setState}, {@link MigrationData.read} and {@link MigrationData.write}; the signal's
   *   AbortError.
   */
  async moveTo(target: { readonly migration: Migration }, opts?: MoveOptions): Promise<void> {
    const to = instance(options(target, 'target').migration, 'target.migration', Migration);
    const settings = streamOptions(opts);
    const preCopy = boolean(options(opts).preCopy ?? false, 'preCopy');
    const start = boolean(options(opts).start ?? true, 'start');
    const before = this.state;
    const streams: (Readable | Writable)[] = [];
    try {
      const source = await this.save({ ...settings, preCopy });
      streams.push(source);
      const sink = await to.resume(settings);
      streams.push(sink);
      const moved = pipeline(source, sink);
      moved.catch(() => undefined); // told below
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

  /** The target of a move that failed. Its first error is told; a second would hide it. */
  async #giveUp(begun: boolean): Promise<void> {
    if (!begun || this.#device.closed) return;
    await this.#power.reset().catch(() => undefined);
  }

  async #goBack(state: MigrationState): Promise<void> {
    if (attempt(() => this.state) !== state) await this.setState(state).catch(() => undefined);
  }

  /** The state may be another: who waits for more data looks again. @internal */
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
