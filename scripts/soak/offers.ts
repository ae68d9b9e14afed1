// Devices that one thread has bound and that others use through duplicates of its fds. The fd numbers are in shared
// memory. A number is valid only while its owner keeps the fd open, so an owner waits for threads that are duplicating
// it.

const words = 3; // for each device: its fd + 1, the iommufd + 1, the number of threads that are duplicating them
const [device, iommufd, takers] = [0, 1, 2];

export class Offers {
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
  }

  static allocate(devices: number): SharedArrayBuffer {
    return new SharedArrayBuffer(4 * words * devices);
  }

  offer(index: number, fds: { device: number; iommufd: number }): void {
    Atomics.store(this.#words, words * index + iommufd, fds.iommufd + 1);
    Atomics.store(this.#words, words * index + device, fds.device + 1);
  }

  /** Withdraws the offer. When it returns, no thread uses the numbers. */
  withdraw(index: number): void {
    Atomics.store(this.#words, words * index + device, 0);
    const at = words * index + takers;
    for (let n = Atomics.load(this.#words, at); n > 0; n = Atomics.load(this.#words, at)) {
      Atomics.wait(this.#words, at, n, 1);
    }
  }

  /** Calls `duplicate` with fds that stay open during the call. Returns undefined if nothing is offered. */
  take<T>(index: number, duplicate: (fds: { device: number; iommufd: number }) => T): T | undefined {
    Atomics.add(this.#words, words * index + takers, 1);
    try {
      const fd = Atomics.load(this.#words, words * index + device) - 1;
      if (fd < 0) return undefined;
      return duplicate({ device: fd, iommufd: Atomics.load(this.#words, words * index + iommufd) - 1 });
    } finally {
      Atomics.sub(this.#words, words * index + takers, 1);
    }
  }
}
