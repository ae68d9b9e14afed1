// One kind of a device's interrupts: enabling, masking and listening.
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

/** PCI's limit for MSI-X. */
const mostVectors = 2048;

/**
 * Who is told of a vector's interrupts: `true`, this object, so that they can be listened to; an {@link Eventfd}, or the
 * number of one's fd (KVM's irqfd, another process's); `null`, nobody: the vector has no interrupt.
 */
export type VectorTarget = true | Eventfd | number | null;

/** How to enable interrupts. */
export interface EnableOptions {
  /** The first vector that is meant: 0 unless told. */
  start?: number;
  /**
   * Of interrupts that mask themselves (INTx): whether they are unmasked when those who listen have done with one, which is
   * so unless told. It is the caller's to unmask, otherwise, by {@link InterruptIndex.unmask} or {@link InterruptIndex.unmaskBy}.
   */
  autoUnmask?: boolean;
}

/** What an {@link InterruptIndex} tells its listeners. */
export interface InterruptEvents {
  /** Interrupts came: of which vector, and how many since the last time. */
  interrupt: [vector: number, count: bigint];
  /** Listening to a vector came to an end by an error. */
  error: [error: unknown];
}

/** What is asked of the kernel, for errors. */
type Action = keyof typeof irqActions;

/**
 * One kind of a device's interrupts. Of INTx, MSI and MSI-X one can be enabled at a time, and MSI and MSI-X are messages,
 * which a device sends as DMA: only with `device.command.busMaster` on.
 *
 * What comes is listened to by {@link listen}, or as the event 'interrupt'. Nothing is lost: the kernel counts what
 * nobody takes. Listening ends when the vector is disabled or given to somebody else, and when the device is closed;
 * what was counted until then is told first. A reset of the device ends nothing.
 */
export class InterruptIndex extends EventEmitter<InterruptEvents> {
  readonly device: Parents['VfioDevice'];
  /** The number in the kernel's interface. */
  readonly index: number;
  /** 'INTx', 'MSI', 'MSI-X', 'error' or 'request'. */
  readonly name: string;
  readonly #vectors = new Map<number, Vector>();
  /** Vectors that somebody else is told of. */
  readonly #foreign = new Set<number>();
  readonly #heard = new Map<Vector, CountListener>();
  #keepsAlive = true;
  #enabled = false;
  #allocated = 0;
  #autoUnmask = false;
  #unmaskedBy = false;

  /** @internal */
  constructor(device: Parents['VfioDevice'], index: number) {
    super();
    this.device = device;
    this.index = index;
    this.name = irqNames[index] ?? String(index);
  }

  /** What it offers (VFIO_DEVICE_GET_IRQ_INFO). */
  get info(): IrqInfo {
    return this.device.irqInfo(this.index);
  }

  /** Whether this object has enabled it, for however many vectors. */
  get enabled(): boolean {
    return this.#enabled;
  }

  /** The vectors that have an interrupt by this object, in ascending order. */
  get vectors(): number[] {
    return [...this.#vectors.keys(), ...this.#foreign].sort((a, b) => a - b);
  }

  /** How many vectors there were when it was enabled: of a kind with `noresize`, there can be no others. @internal */
  get allocated(): number {
    return this.#allocated;
  }

  /**
   * Gives vectors an interrupt, all in one call (VFIO_DEVICE_SET_IRQS). The first call enables the index; others add
   * vectors, replace who is told of them, or take them away (`null`). Where `info.noresize` is set, as for MSI, there are
   * never more vectors than the first call had: {@link disable} first to have more.
   *
   * @param vectors how many, which this object is told of; or who is told of each. All that there are, unless told.
   * @throws KernelError EINVAL: no such vectors; another of INTx, MSI and MSI-X is enabled; more vectors than at first where
   *   that cannot be; an fd that is no eventfd. EBADF: an fd that is not open. ENOSPC: out of interrupt vectors. After an
   *   error the vectors that were meant have no interrupt, except that INTx, error and request stay as they were.
   */
  enable(vectors?: number | readonly VectorTarget[], opts?: EnableOptions): void {
    const { start = 0, autoUnmask = true } = options(opts);
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

  /** The kernel may have taken some vectors away and left others: it takes all. */
  #failed(start: number, count: number): void {
    if (!this.#enabled || (this.name !== 'MSI' && this.name !== 'MSI-X')) return;
    const touched = this.vectors.filter((number) => number >= start && number < start + count);
    for (const number of touched) {
      this.#assign(number, null, undefined);
      try {
        native.irqSetEventfds(this.device.handle, irqActions.trigger, this.index, number, Int32Array.of(-1));
      } catch {
        this.#foreign.add(number); // it may still be signaled, until disable()
      }
    }
  }

  /** Takes the interrupts of all vectors away (VFIO_DEVICE_SET_IRQS). No error if it is not enabled. */
  disable(): void {
    const { handle } = this.device;
    try {
      this.#call('trigger', 0, 0, () => native.irqSet(handle, irqActions.trigger, this.index, 0, 0));
    } catch (error) {
      // It is not enabled.
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

  /** Before the device goes. @internal */
  close(): void {
    if (!this.#enabled) return;
    try {
      native.irqSet(this.device.handle, irqActions.trigger, this.index, 0, 0);
    } catch {
      // The kernel does it with the last fd, then.
    }
    this.#disabled();
  }

  /**
   * As if the interrupt came, from software (VFIO_DEVICE_SET_IRQS): who is told of the vectors is told.
   *
   * @param start the first vector
   * @param which how many, or a flag for each
   * @throws KernelError EINVAL: not enabled, or no such vectors.
   */
  trigger(start = 0, which: number | readonly boolean[] = 1): void {
    this.#do('trigger', start, which);
  }

  /**
   * Masks interrupts (VFIO_DEVICE_SET_IRQS): what the device asks for meanwhile comes when they are unmasked.
   *
   * @throws KernelError ENOTTY: the kernel cannot, for this kind; it can for INTx alone. EINVAL: not enabled.
   */
  mask(start = 0, which: number | readonly boolean[] = 1): void {
    this.#do('mask', start, which);
  }

  /**
   * Unmasks interrupts (VFIO_DEVICE_SET_IRQS). If the device still asks for one, it comes again at once.
   *
   * @throws KernelError as {@link mask}.
   */
  unmask(start = 0, which: number | readonly boolean[] = 1): void {
    this.#do('unmask', start, which);
  }

  /**
   * Has the kernel unmask the interrupt by itself each time an eventfd is signalled (VFIO_DEVICE_SET_IRQS), as KVM's resample
   * eventfd is when a guest has done with an INTx; `null` ends it. While it is so, listening does not unmask. Signals that the
   * eventfd has counted already unmask at once.
   *
   * @throws KernelError ENOTTY: the kernel cannot, for this kind; it can for INTx alone. EBUSY: another eventfd does it
   *   already. EINVAL: not enabled, or not an eventfd.
   */
  unmaskBy(eventfd: Eventfd | number | null): void {
    this.#by('unmask', eventfd);
    this.#unmaskedBy = eventfd !== null;
  }

  /** The same for masking (VFIO_DEVICE_SET_IRQS). @throws KernelError ENOTTY: no kernel until now can. */
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
   * A vector's interrupts as an async iterator: each value is how many came since the last. Several listeners each get all.
   * An INTx that a listener got is unmasked when it asks for the next, or leaves: when it has done with the device.
   *
   * @throws Error ERR_NOT_ENABLED: this object is not told of the vector. From the iterator: the signal's reason.
   */
  listen(vector = 0, opts?: ListenOptions): Counts {
    const number = integer(vector, 'vector', 0, mostVectors - 1);
    options(opts);
    if (this.device.closed) throw closedError('VFIO device');
    const { counter } = this.#vectors.get(number) ?? {};
    if (!counter) {
      throw codedError(
        'ERR_NOT_ENABLED',
        `${this.name} vector ${String(number)} is not enabled for listening: enable() it`,
      );
    }
    return new Counts(counter, opts);
  }

  /** Waiting for these interrupts keeps the process alive: so it is at first. */
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

  /** Listeners are called when what is going on is over: they may do anything, and throw. */
  #listener(number: number, { counter }: Vector): CountListener {
    const say = (name: keyof InterruptEvents, ...values: unknown[]) => {
      // Not this.emit: an object's own property must not get in the way.
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

  // After a listener came or went.
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
