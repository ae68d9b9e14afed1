// Devices that one thread has bound and lets others use through duplicates of its fds: their numbers, in shared memory.
// A number is good only while its owner keeps it open; so an owner waits for those who are just duplicating it.

const words = 3; // of each device: the device's fd and the iommufd's, each plus one, and how many are taking
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

  /** When it returns, nobody uses the numbers any more. */
  withdraw(index: number): void {
    Atomics.store(this.#words, words * index + device, 0);
    const at = words * index + takers;
    for (let n = Atomics.load(this.#words, at); n > 0; n = Atomics.load(this.#words, at)) {
      Atomics.wait(this.#words, at, n, 1);
    }
  }

  /** Calls `duplicate` with numbers that stay open for as long as it runs; undefined: nothing is offered. */
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
