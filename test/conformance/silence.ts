// Measures how long the event loop is blocked, and makes fds whose close blocks.
import { setTimeout as sleep } from 'node:timers/promises';

/** Returns how long a function blocks the event loop at most, in milliseconds. */
export async function longestSilence(run: () => Promise<void>): Promise<number> {
  let [last, longest] = [performance.now(), 0];
  const look = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  const timer = setInterval(look, 5);
  try {
    await run();
    await sleep(100); // deferred work
  } finally {
    clearInterval(timer);
  }
  look();
  return longest;
}

/** In milliseconds. A close that waits takes longer (see {@link lingering}); a busy computer delays less. */
export const tolerable = 3000;

/**
 * Python: `lingering()` is a TCP socket with data that its peer, which stays open here, does not read. Closing its last
 * fd blocks for `seconds`.
 */
export const lingering = `
import socket, struct, os, time, sys, json
peers = []
def lingering(seconds=10):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    s = socket.socket()
    s.connect(listener.getsockname())
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, seconds))
    peers.append((listener, listener.accept()))
    s.setblocking(False)
    try:
        while True: s.send(b"x" * 65536)
    except BlockingIOError: pass
    return s
def send(channel, data, sockets):
    socket.send_fds(channel, [data], [s.fileno() for s in sockets])
    for s in sockets: s.close()
`;
