// Waits for another process for a bounded time, with or without blocking the thread.
import { setTimeout as delay } from 'node:timers/promises';
import { text } from '../kernel/look';

/**
 * A computation that waits: it yields the milliseconds until it wants to continue. {@link waitSync} blocks the thread,
 * {@link wait} does not.
 */
export type Waiting<T> = Generator<number, T>;

export function waitSync<T>(waiting: Waiting<T>): T {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const { done, value } = waiting.next();
    if (done) return value;
    Atomics.wait(cell, 0, 0, value);
  }
}

export async function wait<T>(waiting: Waiting<T>): Promise<T> {
  for (;;) {
    const { done, value } = waiting.next();
    if (done) return value;
    await delay(value);
  }
}

const shortest = 5;
const longest = 100;

/** Yields until `look` returns something, or `milliseconds` are over; then returns undefined. */
export function* until<T>(milliseconds: number, look: () => T | undefined): Waiting<T | undefined> {
  const end = performance.now() + milliseconds;
  for (let pause = shortest; ; pause = Math.min(pause * 1.5, longest)) {
    const found = look();
    if (found !== undefined) return found;
    const rest = end - performance.now();
    if (rest <= 0) return undefined;
    yield Math.min(pause, rest);
  }
}

/** Whether the process runs; a zombie does not. */
export function isRunning(pid: number): boolean {
  const state = /\) (\S)/.exec(text(`/proc/${String(pid)}/stat`))?.[1];
  return state !== undefined && state !== 'Z' && state !== 'X';
}
