// The streams that read and write a device's state.
import type * as Streams from 'node:stream';
import { codedError } from '../errors/errors';

// eslint-disable-next-line @typescript-eslint/no-require-imports -- only when needed, because it is large
const streams = () => require('node:stream') as typeof Streams;

/** What the streams need of a MigrationData. */
interface Data {
  readonly migration: { readonly state: string };
  readonly calls: { idle: () => Promise<void> };
  read: (size: number) => Promise<Buffer>;
  write: (bytes: Uint8Array) => Promise<number>;
  close: () => void;
}

interface Settings {
  signal?: AbortSignal;
  highWaterMark: number;
}

/** Reads a device's state. @param more resolves when there may be more data to read @internal */
export function savedState(data: Data, settings: Settings, more: () => Promise<void>): Streams.Readable {
  const { Readable } = streams();
  /** Returns null at the end of the data. */
  const next = async (stream: Streams.Readable, size: number): Promise<Buffer | null> => {
    for (let last = false; ;) {
      const bytes = await data.read(size);
      if (bytes.length > 0) return bytes;
      if (last || stream.destroyed) return null;
      const { state } = data.migration;
      if (state === 'pre-copy' || state === 'pre-copy-p2p') {
        const waiting = more();
        stream.emit('idle');
        await waiting;
      } else {
        last = true; // the device may have stopped after the read: read once more for the data that the stop added
      }
    }
  };
  return new Readable({
    ...settings,
    read(size) {
      next(this, size).then(
        (bytes) => {
          if (!this.destroyed) this.push(bytes);
        },
        (error: unknown) => this.destroy(error as Error),
      );
    },
    destroy: (error, done) => closeBehind(data, error, done),
  });
}

/** Writes a device's state. @internal */
export function resumedState(data: Data, settings: Settings): Streams.Writable {
  const { Writable } = streams();
  const all = async (stream: Streams.Writable, bytes: Buffer): Promise<void> => {
    for (let at = 0; at < bytes.length && !stream.destroyed;) {
      const taken = await data.write(bytes.subarray(at));
      if (taken === 0) throw codedError('ERR_MIGRATION_STUCK', 'the driver takes no more bytes, and does not say why');
      at += taken;
    }
  };
  return new Writable({
    ...settings,
    decodeStrings: true,
    write(bytes: Buffer, _, done) {
      all(this, bytes).then(
        () => done(),
        (error: unknown) => done(error as Error),
      );
    },
    destroy: (error, done) => closeBehind(data, error, done),
  });
}

/** Delays the stream's 'close' event until its fd is closed. */
function closeBehind(data: Data, error: Error | null, done: (error?: Error | null) => void): void {
  data.close();
  void data.calls.idle().then(() => done(error));
}
