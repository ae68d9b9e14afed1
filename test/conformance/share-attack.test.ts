// Attacks of other processes on a share server, a share client and a channel.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import {
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { release } from 'node:os';
import { createInterface } from 'node:readline';
import { readFileSync, writeFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaMemory, FdChannel, FdServer, ShareClient, ShareServer, type FdSource, type ShareOptions } from '../../lib';
import { start, temporaryFolder } from '../cleanup';
import { python, superuser, type Need } from '../needs';
import { openFds } from './fds';
import { conforms, conformsBeside, observe, refuses, unlessFailing } from './record';
import { cmb, collectGarbage, MiB, page, useRig, vram } from './rig';
import { lingering, longestSilence, tolerable } from './silence';

const nobody = 65534;

/** SO_PASSRIGHTS. */
const refusesFds: Need = () => {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return major > 6 || (major === 6 && minor >= 16) ? undefined : 'Linux 6.16 is the first that refuses fds';
};

/** Starts a Python program with `lingering()`. It prints a line when its attack is done, and keeps running. */
async function hostile(script: string, fds: readonly number[] = []): Promise<void> {
  const child = start('python3', ['-c', `${lingering}\n${script}\nprint("done", flush=True)\ntime.sleep(60)`], { fds });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  assert.equal(line, 'done');
}

const quiet = async (run: () => Promise<void>) => {
  const silence = await longestSilence(run);
  assert(silence < tolerable, `the event loop stood still for ${silence.toFixed(0)} ms`);
};

describe('others who attack', () => {
  const rig = useRig('ssd', 'display');
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = temporaryFolder();
    path = join(folder, 'socket');
  });
  const offers = () => [
    { name: 'cmb', dmaBuf: rig.exported('ssd', cmb.region, MiB) },
    { name: 'vram', dmaBuf: rig.exported('display', vram.region, 16n * page) },
  ];
  const serve = (opts?: ShareOptions) => rig.keep(new ShareServer(path, offers(), opts));
  const connect = async () => rig.keep(await ShareClient.connect(path));

  describe('with closes that wait', () => {
    const receiveFrom = async (script: string, maxBytes?: number) => {
      const [ours, theirs] = FdChannel.pair(maxBytes === undefined ? {} : { maxBytes });
      rig.keep(ours);
      await hostile(`channel = socket.socket(fileno=3)\n${script}`, [theirs.fd]);
      theirs.close();
      return ours;
    };

    conformsBeside([python], 'of a message that is disposed of', async () => {
      const channel = await receiveFrom('send(channel, b"x", [lingering(), lingering()])');
      await quiet(async () => {
        using message = await channel.receive();
        assert.equal(observe(message?.fds.length), 2);
      });
    });

    conformsBeside([python], 'of a message that is too long', async () => {
      const channel = await receiveFrom('send(channel, b"x" * 100, [lingering()])', 10);
      await quiet(() => refuses('ERR_MESSAGE_TOO_LONG', () => channel.receive()).then(() => undefined));
    });

    conformsBeside([python], 'of a message that nobody received', async () => {
      const channel = await receiveFrom('send(channel, b"x", [lingering()])');
      await quiet(async () => channel.close());
    });

    conformsBeside([python], 'of what the garbage collector finds', async () => {
      const channel = await receiveFrom('send(channel, b"x", [lingering()])');
      const lose = async () => {
        assert.equal((await channel.receive())?.fds.length, 1);
      };
      const fds = openFds();
      await quiet(async () => {
        await lose();
        await collectGarbage();
      });
      assert(openFds() <= fds + 1); // it is closed, or being closed
    });

    conformsBeside([python], 'of something that is to be sent on', async () => {
      const channel = await receiveFrom('send(channel, b"x", [lingering()])');
      const [one, other] = FdChannel.pair();
      rig.keep(one);
      await quiet(async () => {
        const message = await channel.receive();
        let full = false;
        while (!full) {
          const sent = one.send(Buffer.alloc(60_000));
          sent.catch(() => undefined);
          full = await Promise.race([sent.then(() => false), sleep(20, true)]);
        }
        const sending = one.send('on', message?.fds); // a duplicate is queued
        sending.catch(() => undefined);
        for (const fd of message?.fds ?? []) fd.close();
        one.close();
        other.close();
        await Promise.allSettled([sending]);
      });
    });

    conformsBeside([python], 'of a message with more fds than this process can open', async () => {
      const channel = await receiveFrom(
        'send(channel, b"x", [lingering()] + [socket.socket() for _ in range(98)] + [lingering()])',
      );
      // Another process sets the limit, as this process may have no fd left to start one afterwards.
      const setter = start('python3', [
        '-c',
        `import resource, sys
for line in sys.stdin:
    soft = int(line)
    resource.prlimit(${String(process.pid)}, resource.RLIMIT_NOFILE, (soft, resource.prlimit(${String(process.pid)}, resource.RLIMIT_NOFILE)[1]))
    print("set", flush=True)`,
      ]);
      const lines = createInterface(setter.stdout)[Symbol.asyncIterator]();
      const limit = async (soft: number) => {
        setter.stdin.write(`${String(soft)}\n`);
        assert.equal((await lines.next()).value, 'set');
      };
      const was = Number(/Max open files +(\d+)/.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? '1024');
      await limit(openFds() + 20);
      try {
        let error: unknown;
        const silence = await longestSilence(async () => {
          const receiving = channel.receive().catch((caught: unknown) => {
            error = caught;
          });
          await Promise.race([receiving, sleep(500)]);
        });
        assert(silence < tolerable, `the event loop stood still for ${silence.toFixed(0)} ms`);
        if (error !== undefined) assert.equal((error as { code: unknown }).code, 'ERR_FDS_LOST');
      } finally {
        await limit(was);
      }
    });

    conformsBeside([python], 'the threads of the pool stay free', async () => {
      const channel = await receiveFrom('for _ in range(8): send(channel, b"x", [lingering()])');
      await quiet(async () => {
        for (let i = 0; i < 8; i += 1) (await channel.receive())?.[Symbol.dispose]();
        const begun = performance.now();
        await Promise.all(Array.from({ length: 8 }, () => stat('/')));
        assert(performance.now() - begun < tolerable);
      });
    });

    conformsBeside([python], 'of clients that are served, and of some that are refused', async () => {
      chmodSync(folder, 0o755);
      const server = serve({ mode: 0o666, clients: 2 });
      const good = await connect();
      const attack = `
def attack():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(${JSON.stringify(path)})
    sockets = [lingering()]
    try: send(s, b"x", sockets)
    except (PermissionError, BrokenPipeError, ConnectionResetError): peers.append(sockets)
    return s
kept = [attack() for _ in range(6)]`;
      await quiet(async () => {
        await hostile(attack);
        const restored = once(good, 'restored');
        await rig.device('ssd').reset();
        await restored;
      });
      assert(server.clients.length <= 2);
      await quiet(async () => server.close());
    });

    conformsBeside([python], 'of a hostile server', async () => {
      const attack = (hello: string, count: number) => `
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(${JSON.stringify(path)})
listener.listen(5)
print("listening", flush=True)
s, _ = listener.accept()
send(s, ${hello}, [lingering() for _ in range(${String(count)})])
try: send(s, b"{}", [lingering()])
except (PermissionError, BrokenPipeError, ConnectionResetError): pass
time.sleep(60)`;
      const info = `{"name": "a", "size": "0x1000", "inode": "0x1", "generation": 0, "state": "live"}`;
      for (const [hello, count, code] of [
        ['b"garbage"', 3, 'ERR_SHARE_PROTOCOL'],
        [`b'{"vfioDmabufShare": 1, "buffers": [${info}]}'`, 2, 'ERR_SHARE_PROTOCOL'],
        [`b'{"vfioDmabufShare": 1, "buffers": [${info}]}'`, 1, 'ERR_NOT_DMA_BUF'],
        ['b"x" * 140000', 2, 'ERR_MESSAGE_TOO_LONG'],
      ] as const) {
        const child = start('python3', ['-c', `${lingering}\n${attack(hello, count)}`]);
        await once(child.stdout, 'data');
        await quiet(async () => {
          await refuses(code, () => ShareClient.connect(path));
        });
        child.kill('SIGKILL');
        await once(child, 'exit');
        renameSync(path, join(folder, `${code}-${String(count)}`));
      }
    });

    conformsBeside([refusesFds], 'a server takes no fds, and a client none after the first message', async () => {
      serve();
      const client = rig.keep(FdChannel.connect(path));
      await refuses('EPERM', () => client.send('x', [0]));
      const raw = rig.keep(FdServer.listen(`${path}-raw`));
      const accepting = raw.accept();
      const connecting = ShareClient.connect(raw.path);
      const channel = rig.keep(await accepting);
      await channel.send(JSON.stringify({ vfioDmabufShare: 1, buffers: [] }));
      rig.keep(await connecting);
      await refuses('EPERM', () => channel.send('x', [0]));
    });
  });

  describe('with paths', () => {
    const unsafe = (at: string) => refuses('ERR_UNSAFE_FOLDER', () => FdServer.listen(at));

    conforms('a folder that others may write to is refused, unless it has the sticky bit', async () => {
      for (const mode of [0o777, 0o770, 0o702]) {
        chmodSync(folder, mode);
        await unsafe(path);
      }
      chmodSync(folder, 0o1777);
      rig.keep(FdServer.listen(path)).close();
      const below = join(folder, 'below');
      mkdirSync(below);
      chmodSync(folder, 0o777);
      await unsafe(join(below, 'socket'));
      chmodSync(folder, 0o755);
      await refuses('ENOENT', () => FdServer.listen(join(folder, 'none', 'socket')));
      writeFileSync(join(folder, 'file'), '');
      await refuses('ENOTDIR', () => FdServer.listen(join(folder, 'file', 'socket')));
    });

    conforms('a symlink in the place is not followed, and what it leads to stays as it is', async () => {
      const victim = join(folder, 'victim');
      writeFileSync(victim, 'mine', { mode: 0o600 });
      symlinkSync(victim, path);
      await refuses('EADDRINUSE', () => FdServer.listen(path, { mode: 0o666 }));
      const dead = FdServer.listen(join(folder, 'dead'));
      linkSync(dead.path, join(folder, 'left'));
      dead.close();
      const toDead = join(folder, 'to-dead');
      symlinkSync('left', toDead);
      await refuses('EADDRINUSE', () => FdServer.listen(toDead));
      const dangling = join(folder, 'dangling');
      symlinkSync(join(folder, 'nothing'), dangling);
      await refuses('EADDRINUSE', () => FdServer.listen(dangling));
      assert.equal(observe((statSync(victim).mode & 0o777).toString(8)), '600');
      assert.equal(observe(existsSync(join(folder, 'nothing'))), false);
    });

    conforms('nothing is left beside the socket, and only its own file goes with it', async () => {
      const server = rig.keep(FdServer.listen(path, { mode: 0o666 }));
      assert.deepEqual(observe(readdirSync(folder)), ['socket']);
      assert.equal(observe((statSync(path).mode & 0o777).toString(8)), '666');
      renameSync(path, join(folder, 'moved'));
      symlinkSync('moved', path); // a symbolic link to the server's own socket, which is a different file
      rig.keep(FdChannel.connect(path));
      server.close();
      assert.deepEqual(observe(readdirSync(folder).sort()), ['moved', 'socket']);
    });

    conformsBeside([superuser], 'a folder, or a symlink on the way, of another user is refused', async () => {
      chmodSync(folder, 0o1777);
      const theirs = join(folder, 'theirs');
      mkdirSync(theirs);
      chownSync(theirs, nobody, nobody);
      await unsafe(join(theirs, 'socket'));
      const inTheirs = join(theirs, 'below');
      mkdirSync(inTheirs);
      await unsafe(join(inTheirs, 'socket'));
      const mine = join(folder, 'mine');
      mkdirSync(mine);
      symlinkSync(mine, join(folder, 'link'));
      rig.keep(FdServer.listen(join(folder, 'link', 'socket'))).close();
      lchownSync(join(folder, 'link'), nobody, nobody);
      await unsafe(join(folder, 'link', 'socket'));
    });

    conformsBeside([python, superuser], 'whoever owns the folder gets nothing changed', async () => {
      const victim = join(temporaryFolder(), 'victim');
      writeFileSync(victim, 'mine', { mode: 0o600 });
      chmodSync(folder, 0o755);
      chownSync(folder, nobody, nobody);
      const swap = `
os.setgid(${String(nobody)}); os.setuid(${String(nobody)})
path = ${JSON.stringify(path)}
print("done", flush=True)
while True:
    try: os.unlink(path); os.symlink(${JSON.stringify(victim)}, path)
    except OSError: pass`;
      await hostile(swap);
      for (let i = 0; i < 200; i += 1) {
        try {
          FdServer.listen(path, { mode: 0o666, group: 4711 }).close();
        } catch (error) {
          assert.equal((error as { code?: unknown }).code, 'ERR_UNSAFE_FOLDER');
        }
      }
      const { mode, gid } = statSync(victim);
      assert.deepEqual(observe([(mode & 0o777).toString(8), gid]), ['600', process.getgid?.()]);
    });

    conforms('who has the place is told', async () => {
      rig.keep(FdServer.listen(path));
      const error = await refuses('EADDRINUSE', () => FdServer.listen(path));
      unlessFailing(() =>
        assert.match(
          (error as { hint?: string }).hint ?? '',
          new RegExp(`process ${String(process.pid)} listens there`),
        ),
      );
      const other = await refuses('EADDRINUSE', () => FdServer.listen(path, { kind: 'stream' }));
      assert.match((other as { hint?: string }).hint ?? '', /another process listens there/);
    });

    conforms('a socket that was left behind is replaced', async () => {
      const left = join(folder, 'left');
      const dead = FdServer.listen(path);
      linkSync(path, left); // the socket's file that a killed server leaves
      dead.close();
      await refuses('ECONNREFUSED', () => FdChannel.connect(left));
      rig.keep(FdServer.listen(left));
      rig.keep(FdChannel.connect(left));
      assert.deepEqual(observe(readdirSync(folder)), ['left']);
    });
  });

  describe('by reading nothing', () => {
    conformsBeside([], 'they are kept only the latest state of each buffer', async () => {
      serve({ patience: 160_000 });
      const stopped = rig.keep(FdChannel.connect(path));
      const good = await connect();
      const { command } = rig.device('display');
      for (let i = 0; i < 400; i += 1) {
        command.memory = false;
        command.memory = true;
        if (i % 100 === 0) await sleep(1);
      }
      const { generation } = await new Promise<{ generation: number }>((resolve) => {
        const look = () => {
          const [, vram] = good.buffers;
          if (vram?.generation === 400 && vram.state === 'live') resolve(vram);
          else setTimeout(look, 5);
        };
        look();
      });
      assert.equal(observe(generation), 400);
      using hello = await stopped.receive();
      assert.equal(observe(hello?.fds.length), 2);
      let messages = 0;
      let over = false;
      while (!over) {
        using message = await stopped.receive({ signal: AbortSignal.timeout(60_000) });
        const last = Buffer.from(message?.bytes ?? []).toString();
        messages += 1;
        over = last === JSON.stringify({ event: 'restored', buffer: 1, generation: 400 });
        assert(message && messages < 700, `message ${String(messages)}: ${last}`);
      }
    });

    conformsBeside([], 'sixty of them cost no memory and no time', async () => {
      serve();
      const good = await connect();
      let total = 0;
      /** The CPU time of a reset, in microseconds: other processes change it little. */
      const costOfReset = async (seconds: number) => {
        const before = total;
        const used = process.cpuUsage();
        for (const end = performance.now() + 1000 * seconds; performance.now() < end; total += 1) {
          await rig.device('ssd').reset();
        }
        const { user, system } = process.cpuUsage(used);
        return (user + system) / (total - before);
      };
      const alone = await costOfReset(1);
      const stopped = Array.from({ length: 60 }, () => rig.keep(FdChannel.connect(path)));
      await sleep(300);
      const before = process.memoryUsage().rss;
      let beside = 0;
      const silence = await longestSilence(async () => {
        // Until the buffers of the sockets are full, each reset also costs 120 messages.
        for (const full = total + 250; total < full; total += 1) await rig.device('ssd').reset();
        beside = await costOfReset(2);
      });
      const grown = (process.memoryUsage().rss - before) / 2 ** 20;
      assert.equal(stopped.length, 60);
      assert(silence < tolerable, `the event loop stood still for ${silence.toFixed(0)} ms`);
      assert(grown < 100, `${grown.toFixed(0)} MiB more`);
      assert(beside < 10 * alone, `a reset takes ${beside.toFixed(0)} µs of CPU time instead of ${alone.toFixed(0)}`);
      while (good.buffers[0]?.generation !== total) await sleep(5);
    });
  });

  describe('by taking every place', () => {
    conformsBeside([python, superuser], 'one user leaves some to others', async () => {
      chmodSync(folder, 0o755);
      const server = serve({ mode: 0o666, uids: [0, nobody], clients: 8 });
      const served: unknown[] = [];
      server.on('connected', ({ uid }) => served.push(uid));
      const child = start('python3', [
        '-c',
        `import os, socket, time
os.setgid(${String(nobody)}); os.setuid(${String(nobody)})
kept = []
for _ in range(8):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(${JSON.stringify(path)})
    kept.append(s)
    print(s.recv(65536).decode()[:60], flush=True)
print("done", flush=True)
time.sleep(60)`,
      ]);
      const answers: string[] = [];
      for await (const line of createInterface(child.stdout)) {
        if (line === 'done') break;
        answers.push(line);
      }
      const told = answers.filter((answer) => answer.includes('refused'));
      assert.equal(observe(told.length), 6);
      assert.match(told[0] ?? '', /"vfioDmabufShare":1,"refused":"too many clients of/);
      const root = await connect();
      assert.equal(observe(root.buffers.length), 2);
      assert.deepEqual(observe(served), [nobody, nobody, 0]);
    });

    conformsBeside([], 'who finds no place is told why', async () => {
      const server = serve({ clients: 1 });
      await connect();
      const refused = once(server, 'refused') as Promise<[unknown, string]>;
      const error = await refuses('ERR_SHARE_REFUSED', () => ShareClient.connect(path));
      assert.match(error.message, /too many clients/);
      assert.match((await refused)[1], /too many clients/);
      await refuses('ERR_OUT_OF_RANGE', () => new ShareServer(`${path}-2`, offers(), { clientsPerUser: 0 }));
      await refuses('ERR_OUT_OF_RANGE', () => new ShareServer(`${path}-2`, offers(), { clients: 4, reserved: 2 }));
    });
  });

  describe('by telling what is not so', () => {
    /** The result of connecting to a server that sends this greeting. */
    const meet = async (hello: string | Uint8Array, fds: FdSource[], then: [string, FdSource[]][] = []) => {
      using server = FdServer.listen(path);
      const accepting = server.accept();
      accepting.catch(() => undefined);
      const connecting = ShareClient.connect(path);
      connecting.catch(() => undefined);
      using channel = await Promise.race([accepting, connecting.then(() => accepting)]);
      const sending = channel.send(hello, fds);
      sending.catch(() => undefined);
      using client = await Promise.race([connecting, sending.then(() => connecting)]);
      const ended = once(client, 'end') as Promise<[{ code?: string } | undefined]>;
      for (const [text, more] of then) await channel.send(text, more);
      channel.close();
      const [error] = await ended;
      if (error) throw error as Error;
      return client.buffers;
    };

    conforms('a wrong size is refused, and nothing is leaked', async () => {
      const buffer = rig.exported('ssd', cmb.region, MiB);
      const info = { name: 'a', size: '0x1000', inode: `0x${buffer.inode.toString(16)}`, generation: 0, state: 'live' };
      await refuses('ERR_SHARE_PROTOCOL', () =>
        meet(JSON.stringify({ vfioDmabufShare: 1, buffers: [info] }), [buffer]),
      );
    });

    conformsBeside([], 'whatever it is about, it is refused', async () => {
      const buffer = rig.exported('ssd', cmb.region, MiB);
      const real = {
        ...{ name: 'a', size: '0x100000', inode: `0x${buffer.inode.toString(16)}` },
        ...{ exporter: 'vfio_pci_core', generation: 5, state: 'live' },
      };
      const hello = (...infos: unknown[]) => JSON.stringify({ vfioDmabufShare: 1, buffers: infos });
      const before = openFds();
      for (const lie of [
        { size: '0x200000' },
        { size: '0x1000' },
        { size: '0x0' },
        { inode: '0x1' },
        { exporter: 'udmabuf' },
        { exporter: '' },
        { region: -1 },
        { region: 2 ** 32 },
        { generation: -1 },
        { generation: 1.5 },
        { name: 7 },
        { device: {} },
        { ranges: [{ offset: '0x0', length: '0x0' }] },
        { ranges: [{ offset: '0xfffffffffffff000', length: '0x2000' }] },
        { ranges: {} },
      ]) {
        await refuses('ERR_SHARE_PROTOCOL', () => meet(hello({ ...real, ...lie }), [buffer]));
      }
      await refuses('ERR_SHARE_PROTOCOL', () => meet(hello(real, real), [buffer, buffer]));
      await refuses('ERR_SHARE_PROTOCOL', () =>
        meet(Buffer.from(hello({ ...real, name: '\xff' }), 'latin1'), [buffer]),
      );
      await refuses('ERR_SHARE_PROTOCOL', () => meet('{"vfioDmabufShare":1,"refused":7}', []));
      await refuses('ERR_SHARE_REFUSED', () => meet('{"vfioDmabufShare":1,"refused":"no \\u001b room"}', []));
      const memory = rig.keep(DmaMemory.alloc(4096));
      await refuses('ERR_NOT_DMA_BUF', () => meet(hello(real), [memory]));
      assert.equal(observe((await meet(hello(real), [buffer]))[0]?.size), MiB);
      // Received fds are closed on another thread.
      for (let i = 0; i < 200 && openFds() > before + 1; i += 1) await sleep(10);
      assert.equal(openFds(), before + 1); // the memory
    });

    conformsBeside([], 'news that cannot be end a client', async () => {
      const buffer = rig.exported('ssd', cmb.region, MiB);
      const info = {
        ...{ name: 'a', size: '0x100000', inode: `0x${buffer.inode.toString(16)}` },
        ...{ generation: 5, state: 'live' },
      };
      const hello = JSON.stringify({ vfioDmabufShare: 1, buffers: [info] });
      const news = (event: unknown, index: unknown, generation: unknown) =>
        JSON.stringify({ event, buffer: index, generation });
      for (const [text, fds] of [
        [news('revoked', 0, 4), []],
        [news('revoked', 1, 6), []],
        [news('lost', 0, 6), []],
        [news('restored', 0, '6'), []],
        ['[]', []],
      ] as [string, FdSource[]][]) {
        await refuses('ERR_SHARE_PROTOCOL', () => meet(hello, [buffer], [[text, fds]]));
      }
      await meet(
        hello,
        [buffer],
        [
          [news('revoked', 0, 6), []],
          [news('restored', 0, 6), []],
        ],
      );
    });

    conformsBeside([], 'a client asks who the server is', async () => {
      const server = serve();
      const client = await connect();
      assert.deepEqual([client.server.pid, client.server.uid], [process.pid, process.getuid?.()]);
      const gone = once(server, 'gone');
      const error = await refuses('ERR_SHARE_UNTRUSTED', () => ShareClient.connect(path, { serverUids: [4242] }));
      assert.match(error.message, new RegExp(`user ${String(process.getuid?.())} shares at`));
      await gone;
      await refuses('ERR_OUT_OF_RANGE', () => ShareClient.connect(path, { serverUids: [-1] }));
      rig.keep(await ShareClient.connect(path, { serverUids: [process.getuid?.() ?? 0] }));
    });
  });
});
