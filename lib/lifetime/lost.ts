// Objects that were never closed. With NODE_DEBUG=vfio-dmabuf, a process warning names each such object that is garbage
// collected, with the stack trace of its creation. Without it, nothing is recorded.
import { debuglog } from 'node:util';

interface Lost {
  what: string;
  made: string;
}

const enabled = debuglog('vfio-dmabuf').enabled;

const registry = new FinalizationRegistry<Lost>(({ what, made }) => {
  process.emitWarning(`The ${what} was not closed, and was garbage collected. It was made\n${made}`, {
    type: 'VfioDmabufWarning',
    code: 'VFIO_DMABUF_LOST',
  });
});

/**
 * Registers an object that must be closed. The stack trace starts with the caller of `inside`.
 * @internal
 */
export function expectClose(object: object, what: string, inside?: abstract new (...args: never[]) => object): void {
  if (!enabled) return;
  const place: { stack?: string } = {};
  Error.captureStackTrace(place, inside ?? expectClose);
  const made = (place.stack ?? '').split('\n').slice(1).join('\n');
  registry.register(object, { what, made }, object);
}

/** Unregisters an object that was closed. @internal */
export function wasClosed(object: object): void {
  if (enabled) registry.unregister(object);
}
