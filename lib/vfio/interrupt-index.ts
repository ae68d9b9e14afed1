// InterruptIndex: one kind of a device's interrupts. Enables, masks and triggers them, and reports them to listeners.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { EventEmitter } from 'node:events';
import type { Around } from '../errors/around';
import { Counts, type CountListener, type ListenOptions } from '../events/counter';
import { closedError, codedError, kernelCall, KernelError } from '../errors/errors';
import { Eventfd } from '../events/eventfd';
import { native } from '../addon/native';
import { array, boolean, instance, integer, invalidType, options } from '../errors/validate';
import { irqActions, irqNames } from './constants';
import type { IrqInfo } from './info';
import { Vector } from './vector';

/** The PCI limit of MSI-X vectors. */
const mostVectors = 2048;

/**
 * The receiver of a vector's interrupts. `true`: this object, which reports them to listeners. An {@link Eventfd}, or
 * the fd of one (for example KVM's irqfd or another process's eventfd): the eventfd is signalled. `null`: the vector
 * has no interrupt.
 */
export type VectorTarget = true | Eventfd | number | null;

/** How interrupts are enabled. */
export interface EnableOptions {
  /** The first vector. Default: 0. */
  start?: number;
  /**
   * For interrupts that mask themselves (INTx): whether an interrupt is unmasked when all listeners have handled it.
   * Default: true. If false, the caller must unmask it with {@link InterruptIndex.unmask} or
   * {@link InterruptIndex.unmaskBy}.
   */
  autoUnmask?: boolean;
}

/** The events of an {@link InterruptIndex}. */
export interface InterruptEvents {
  /** Interrupts occurred: the vector, and their number since the previous event. */
  interrupt: [vector: number, count: bigint];
  /** Listening to a vector ended with an error. */
  error: [error: unknown];
}

/** The action of a call, for error messages. */
type Action = keyof typeof irqActions;

/**
 * One kind of a device's interrupts. Only one of INTx, MSI and MSI-X can be enabled at a time. MSI and MSI-X interrupts
 * are DMA writes of the device, so `device.command.busMaster` must be on.
 *
 * Receive interrupts with {@link listen} or the event 'interrupt'. No interrupt is lost: the kernel counts them until
 * they are read. Listening ends when the vector is disabled or gets another receiver, and when the device is closed.
 * Interrupts that were counted until then are reported first. A reset of the device does not end listening.
 */
export class InterruptIndex extends EventEmitter<InterruptEvents> {
  readonly device: Parents['VfioDevice'];
  /** The index in the kernel's interface. */
  readonly index: number;
  /** 'INTx', 'MSI', 'MSI-X', 'error' or 'request'. */
  readonly name: string;
  readonly #vectors = new Map<number, Vector>();
  /** The vectors whose receiver is another eventfd. */
  readonly #foreign = new Set<number>();
  readonly #heard = new Map<Vector, CountListener>();
  #keepsAlive = true;
  #enabled = false;
  #allocated = 0;
  #autoUnmask = false;
  #unmaskedBy = false;

  static {
    shown(this, 'name', 'index', 'enabled', 'vectors', ['device', ({ device }) => device.address]);
  }

  /** @internal */
  constructor(made: Key, device: Parents['VfioDevice'], index: number) {
    onlyInside(made, 'InterruptIndex', 'use VfioDevice#interrupts');
    super();
    this.device = device;
    this.index = index;
    this.name = irqNames[index] ?? String(index);
  }

  /** The properties of the interrupt index (VFIO_DEVICE_GET_IRQ_INFO). */
  get info(): IrqInfo {
    return this.device.irqInfo(this.index);
  }

  /** Whether this object has enabled the index, for any number of vectors. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** The vectors that this object has enabled, in ascending order. */
  get vectors(): number[] {
    return [...this.#vectors.keys(), ...this.#foreign].sort((a, b) => a - b);
  }

  /** The number of vectors at the first enable(). With `noresize`, it cannot grow until disable(). @internal */
  get allocated(): number {
    return this.#allocated;
  }

  /**
   * Enables vectors in one call (VFIO_DEVICE_SET_IRQS). The first call enables the index. Further calls add vectors,
   * change receivers, or disable vectors (`null`). With `info.noresize`, as for MSI, the number of vectors cannot
   * exceed that of the first call: call {@link disable} first.
   *
   * @param vectors the number of vectors that this object receives, or the receiver of each vector. Default: this
   *   object receives all vectors
   * @throws KernelError EINVAL: no such vectors, another of INTx, MSI and MSI-X is enabled, more vectors than in the
   *   first call with `noresize`, or an fd that is not an eventfd. EBADF: an fd that is not open. ENOSPC: no free
   *   interrupt vectors. After an error, the given vectors have no interrupt, except that INTx, error and request are
   *   unchanged.
   */
  enable(vectors?: number | readonly VectorTarget[], opts?: EnableOptions): void {
    const { start = 0, autoUnmask = true } = options(opts, ['start', 'autoUnmask']);
    const first = integer(start, 'start', 0, mostVectors - 1);
    boolean(autoUnmask, 'autoUnmask');
    const targets = vectors === undefined ? undefined : toTargets(vectors);
    const { count, automasked } = this.info;
    this.#enable(first, targets ?? all(Math.max(count - first, 1)), automasked && autoUnmask);
  }

  #enable(start: number, targets: readonly VectorTarget[], autoUnmask: boolean): void {
    const fresh: Vector[] = [];
    const receivers = new Map<number, Vector>();
    try {
      const numbers = Int32Array.from(targets, (target, i) => {
        if (target === null) return -1;
        if (typeof target === 'number') return target;
        if (target !== true) return target.fd;
        let vector = this.#vectors.get(start + i);
        if (!vector) {
          fresh.push((vector = new Vector(this.device.kernel, this.#settle)));
          vector.counter.keepAlive(this.#keepsAlive);
        }
        receivers.set(start + i, vector);
        return vector.fd;
      });
      const fds = targets.filter((target) => typeof target === 'number');
      this.#call(
        'trigger',
        start,
        numbers.length,
        () => native.irqSetEventfds(this.device.handle, irqActions.trigger, this.index, start, numbers),
        fds,
      );
    } catch (error) {
      for (const vector of fresh) vector.close();
      if (error instanceof KernelError && error.ioctl !== undefined) this.#failed(start, targets.length);
      throw error;
    }
    if (!this.#enabled) this.#allocated = start + targets.length;
    this.#enabled = this.index < 3 || targets.some((target) => target !== null);
    this.#autoUnmask = autoUnmask;
    for (const [i, target] of targets.entries()) this.#assign(start + i, target, receivers.get(start + i));
    if (this.#isHeard()) this.#hear();
  }

  #assign(number: number, target: VectorTarget, receiver: Vector | undefined): void {
    if (receiver) this.#vectors.set(number, receiver);
    else this.#forget(number);
    if (target === true || target === null) this.#foreign.delete(number);
    else this.#foreign.add(number);
  }

  #forget(number: number): void {
    const vector = this.#vectors.get(number);
    this.#vectors.delete(number);
    if (!vector) return;
    this.#heard.delete(vector);
    vector.close();
  }

  /** The kernel may have disabled only some of the vectors. Disables all of them. */
  #failed(start: number, count: number): void {
    if (!this.#enabled || (this.name !== 'MSI' && this.name !== 'MSI-X')) return;
    const touched = this.vectors.filter((number) => number >= start && number < start + count);
    for (const number of touched) {
      this.#assign(number, null, undefined);
      try {
        native.irqSetEventfds(this.device.handle, irqActions.trigger, this.index, number, Int32Array.of(-1));
      } catch {
        this.#foreign.add(number); // it may still be signalled, until disable()
      }
    }
  }

  /** Disables all vectors (VFIO_DEVICE_SET_IRQS). No error if the index is not enabled. */
  disable(): void {
    const { handle } = this.device;
    try {
      this.#call('trigger', 0, 0, () => native.irqSet(handle, irqActions.trigger, this.index, 0, 0));
    } catch (error) {
      // EINVAL: the index is not enabled.
      if (!(error instanceof KernelError && error.code === 'EINVAL')) throw error;
      if (this.device.file.around().isBound?.() !== true) throw error;
    }
    this.#disabled();
  }

  #disabled(): void {
    this.#enabled = false;
    this.#unmaskedBy = false;
    this.#allocated = 0;
    this.#foreign.clear();
    for (const number of [...this.#vectors.keys()]) this.#forget(number);
  }

  /** Disables the index before the device is closed. @internal */
  close(): void {
    if (!this.#enabled) return;
    try {
      native.irqSet(this.device.handle, irqActions.trigger, this.index, 0, 0);
    } catch {
      // The kernel disables it with the last fd.
    }
    this.#disabled();
  }

  /**
   * Simulates interrupts from software (VFIO_DEVICE_SET_IRQS): the receivers of the vectors are signalled.
   *
   * @param start the first vector
   * @param which the number of vectors, or a flag for each vector
   * @throws KernelError EINVAL: not enabled, or no such vectors.
   */
  trigger(start = 0, which: number | readonly boolean[] = 1): void {
    this.#do('trigger', start, which);
  }

  /**
   * Masks interrupts (VFIO_DEVICE_SET_IRQS). An interrupt that the device asserts while masked is delivered when it is
   * unmasked.
   *
   * @throws KernelError ENOTTY: not supported for this kind. The kernel supports it only for INTx. EINVAL: not enabled.
   */
  mask(start = 0, which: number | readonly boolean[] = 1): void {
    this.#do('mask', start, which);
  }

  /**
   * Unmasks interrupts (VFIO_DEVICE_SET_IRQS). If the device still asserts the interrupt, it is delivered again at
   * once.
   *
   * @throws KernelError as {@link mask}.
   */
  unmask(start = 0, which: number | readonly boolean[] = 1): void {
    this.#do('unmask', start, which);
  }

  /**
   * Makes the kernel unmask the interrupt each time an eventfd is signalled (VFIO_DEVICE_SET_IRQS), for example KVM's
   * resample eventfd, which is signalled when a guest has handled an INTx. `null` ends this. In the meantime, listening
   * does not unmask. If the eventfd's counter is not 0, the kernel unmasks at once.
   *
   * @throws KernelError ENOTTY: not supported for this kind. The kernel supports it only for INTx. EBUSY: another
   *   eventfd is set already. EINVAL: not enabled, or not an eventfd.
   */
  unmaskBy(eventfd: Eventfd | number | null): void {
    this.#by('unmask', eventfd);
    this.#unmaskedBy = eventfd !== null;
  }

  /**
   * Makes the kernel mask the interrupt each time an eventfd is signalled (VFIO_DEVICE_SET_IRQS). `null` ends this.
   *
   * @throws KernelError ENOTTY: no kernel supports it yet.
   */
  maskBy(eventfd: Eventfd | number | null): void {
    this.#by('mask', eventfd);
  }

  #by(action: Action, eventfd: Eventfd | number | null): void {
    const number = eventfd === null ? -1 : toNumber(eventfd, 'eventfd');
    this.#call(
      action,
      0,
      1,
      () => native.irqSetEventfds(this.device.handle, irqActions[action], this.index, 0, Int32Array.of(number)),
      typeof eventfd === 'number' ? [eventfd] : [],
    );
  }

  #do(action: Action, start: number, which: number | readonly boolean[]): void {
    const first = integer(start, 'start', 0, mostVectors - 1);
    if (typeof which === 'number') {
      const count = integer(which, 'which', 1, mostVectors);
      this.#call(action, first, count, () =>
        native.irqSet(this.device.handle, irqActions[action], this.index, first, count),
      );
      return;
    }
    const flags = array(which, 'which');
    integer(flags.length, 'which.length', 1, mostVectors);
    const chosen = Uint8Array.from({ length: flags.length }, (_, i) =>
      Number(boolean(flags[i], `which[${String(i)}]`)),
    );
    this.#call(action, first, chosen.length, () =>
      native.irqSetChosen(this.device.handle, irqActions[action], this.index, first, chosen),
    );
  }

  #call(action: Action, start: number, count: number, call: () => void, fds: readonly number[] = []): void {
    const around: Around = { ...this.device.file.around(), interrupts: { index: this, start, count, fds } };
    kernelCall({ ...this.device.file.args(), irq: this.name, action, start, count }, call, around);
  }

  /**
   * Returns an async iterator over a vector's interrupts. Each value is the number of interrupts since the previous
   * value. With several listeners, each receives all interrupts. An INTx is unmasked when its listeners request the
   * next value or end: by then they have handled the interrupt.
   *
   * @throws Error ERR_NOT_ENABLED: this object does not receive the vector. From the iterator: the signal's reason.
   */
  listen(vector = 0, opts?: ListenOptions): Counts {
    const number = integer(vector, 'vector', 0, mostVectors - 1);
    options(opts, ['signal']);
    if (this.device.closed) throw closedError('VFIO device');
    const { counter } = this.#vectors.get(number) ?? {};
    if (!counter) {
      throw codedError(
        'ERR_NOT_ENABLED',
        `${this.name} vector ${String(number)} is not enabled for listening: enable() it`,
      );
    }
    return new Counts(key, counter, opts);
  }

  /** Waiting for these interrupts keeps the process alive. This is the default. */
  ref(): this {
    return this.#keepAlive(true);
  }

  /** Waiting for these interrupts does not keep the process alive. */
  unref(): this {
    return this.#keepAlive(false);
  }

  #keepAlive(on: boolean): this {
    this.#keepsAlive = on;
    for (const { counter } of this.#vectors.values()) counter.keepAlive(on);
    return this;
  }

  readonly #settle = (): void => {
    if (!this.#autoUnmask || this.#unmaskedBy || !this.#enabled || this.device.closed) return;
    this.unmask();
  };

  // ---- The event 'interrupt' ----

  #isHeard(): boolean {
    return EventEmitter.prototype.listenerCount.call(this, 'interrupt') > 0;
  }

  #hear(): void {
    for (const [number, vector] of this.#vectors) {
      if (this.#heard.has(vector)) continue;
      const listener = this.#listener(number, vector);
      vector.counter.add(listener);
      this.#heard.set(vector, listener);
    }
  }

  /** Emits events on the next tick, because listeners may call any method and may throw. */
  #listener(number: number, { counter }: Vector): CountListener {
    const say = (name: keyof InterruptEvents, ...values: unknown[]) => {
      // Not this.emit(): an own property of the object must not replace it.
      EventEmitter.prototype.emit.call(this, name, ...values);
    };
    let untold = 0n;
    const tell = () => {
      const count = untold;
      try {
        say('interrupt', number, count);
      } finally {
        untold -= count;
        if (untold > 0n) process.nextTick(tell);
        counter.changed();
      }
    };
    return {
      waits: true,
      get busy() {
        return untold > 0n;
      },
      take: (count) => {
        if (untold === 0n) process.nextTick(tell);
        untold += count;
      },
      end: (error) => {
        if (error !== undefined) process.nextTick(say, 'error', error);
      },
    };
  }

  // Wraps the methods that add or remove listeners.
  static {
    for (const name of ['on', 'addListener', 'prependListener', 'off', 'removeListener', 'removeAllListeners']) {
      const inherited = Reflect.get(EventEmitter.prototype, name) as () => unknown;
      const value = function (this: InterruptIndex, ...args: unknown[]): InterruptIndex {
        Reflect.apply(inherited, this, args);
        return this.#listenersChanged();
      };
      Object.defineProperty(this.prototype, name, { value, writable: true, configurable: true });
    }
  }

  #listenersChanged(): this {
    if (this.#isHeard()) {
      this.#hear();
      return this;
    }
    for (const [vector, listener] of [...this.#heard]) {
      this.#heard.delete(vector);
      vector.counter.remove(listener, 0n);
    }
    return this;
  }
}

function all(count: number): VectorTarget[] {
  return Array.from({ length: count }, () => true);
}

function toNumber(value: unknown, name: string): number {
  return typeof value === 'number' ? integer(value, name, 0, 0x7fff_ffff) : instance(value, name, Eventfd).fd;
}

function toTargets(vectors: number | readonly VectorTarget[]): readonly VectorTarget[] {
  if (typeof vectors === 'number') return all(integer(vectors, 'vectors', 1, mostVectors));
  const list = Array.isArray(vectors) ? array(vectors as readonly VectorTarget[], 'vectors') : undefined;
  if (!list) throw invalidType('vectors', 'of type number or an array', vectors);
  integer(list.length, 'vectors.length', 1, mostVectors);
  return Array.from(list, (target, i) => {
    if (target !== true && target !== null) toNumber(target, `vectors[${String(i)}]`);
    return target;
  });
}
