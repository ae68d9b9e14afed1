// EventQueue: the base class of queues whose events are read from a file of an iommufd.
import { kernelCall } from '../errors/errors';
import { native, type FdHandle } from '../addon/native';
import { pollEvents, ready } from '../events/poll';
import { instance, options } from '../errors/validate';
import { IommufdObject, type Keeper, type Owned } from './object';

/** A queue of events that is read through the event loop. */
export abstract class EventQueue<Event> extends IommufdObject {
  readonly #file: FdHandle;
  readonly #ending: AbortSignal;
  /** Events that were read from the file and not yet returned. */
  readonly #taken: Event[] = [];

  /** @param file this object takes ownership of it @internal */
  constructor(what: string, owned: Owned, file: FdHandle, keepers: readonly Keeper[]) {
    const ending = new AbortController();
    // The kernel refuses to destroy the object while its file is open.
    const close = () => {
      ending.abort();
      native.fdClose(file, false);
    };
    super(
      what,
      {
        id: owned.id,
        destroy: () => {
          close();
          owned.destroy();
        },
        release: () => {
          close();
          owned.release();
        },
        destroyLater: () => {
          close();
          return owned.destroyLater();
        },
      },
      keepers,
    );
    this.#file = file;
    this.#ending = ending.signal;
  }

  /** Reads the file once. @internal */
  protected abstract take(file: FdHandle): Event[];

  /** @internal */
  get file(): FdHandle {
    this.check();
    return this.#file;
  }

  /**
   * Returns the queued events, oldest first. Reads at most once and does not block. Returns an empty array if there is
   * no event.
   */
  read(): Event[] {
    this.#fetch();
    return this.#taken.splice(0);
  }

  #fetch(): void {
    const { file } = this;
    this.#taken.push(...kernelCall({}, () => this.take(file)));
  }

  /**
   * Iterates over the events as they arrive, through the event loop. Ends when the queue is closed. A loop that ends
   * early loses no events: the next reader continues with the next event.
   *
   * @throws the signal's reason, when it is aborted
   */
  listen(opts?: { signal?: AbortSignal | undefined }): AsyncGenerator<Event, void, undefined> {
    const { signal } = options(opts, ['signal']);
    if (signal !== undefined) instance(signal, 'signal', AbortSignal);
    this.check();
    return this.#listen(signal);
  }

  #isEnding(): boolean {
    return this.#ending.aborted;
  }

  async *#listen(signal: AbortSignal | undefined): AsyncGenerator<Event, void, undefined> {
    const either = signal ? AbortSignal.any([signal, this.#ending]) : this.#ending;
    while (!this.closed) {
      signal?.throwIfAborted();
      if (this.#taken.length === 0) this.#fetch();
      for (let event = this.#taken.shift(); event !== undefined; event = this.#taken.shift()) yield event;
      if (this.#isEnding()) return;
      try {
        await ready(this.file, pollEvents.readable, either);
      } catch (error) {
        if (!this.#isEnding()) throw error;
      }
    }
  }
}
