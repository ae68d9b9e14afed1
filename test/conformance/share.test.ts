// Sharing dma-bufs on a socket: with ShareClient, and with faulty or hostile clients.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { FdChannel, FdServer, ShareClient, ShareServer, type DmaBuf, type ShareOptions } from '../../lib';
import { every, start, temporaryFolder } from '../cleanup';
import { python, superuser } from '../needs';
import { openFds } from './fds';
import { conforms, conformsBeside, observe, refuses, report, unlessFailing } from './record';
import { addresses, cmb, MiB, page, useRig, vram } from './rig';

/** Resolves to the result of `promise`; rejects earlier if `other` fails. */
async function unlessFailed<T>(promise: Promise<T>, other: Promise<unknown>): Promise<T> {
  promise.catch(() => undefined);
  return Promise.race([promise, other.then(() => promise)]);
}

describe('sharing dma-bufs', () => {
  const rig = useRig('ssd', 'display', 'engine');
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = temporaryFolder();
    path = join(folder, 'socket');
  });

  const serve = (opts?: ShareOptions) => {
    const offers = [
      {
        ...{ name: 'cmb', dmaBuf: rig.exported('ssd', cmb.region, MiB), device: addresses.ssd, region: cmb.region },
        ranges: [{ offset: 0n, length: MiB }],
      },
      { name: 'vram', dmaBuf: rig.exported('display', vram.region, 16n * page) },
    ];
    const server = rig.keep(new ShareServer(path, offers, opts));
    server.on('gone', (_, __, error) => {
      if (error !== undefined) report(error);
    });
    return server;
  };
  const connect = async () => {
    const client = rig.keep(await ShareClient.connect(path));
    client.on('end', (error) => {
      if (error !== undefined) report(error);
    });
    return client;
  };
  /** Waits for the client's next event of this kind. Rejects if the server closes the connection. */
  const told = async (client: ShareClient, event: 'revoked' | 'restored') => {
    const check = () => {
      if (client.closed) throw new Error('the server is gone');
    };
    check();
    const over = new AbortController();
    const waits = [event, 'end'].map((name) => once(client, name, { signal: over.signal }));
    await Promise.race(waits);
    over.abort();
    await Promise.allSettled(waits);
    check();
  };

  conforms('gives a client all buffers, and what they are', async () => {
    serve();
    const client = await connect();
    assert.deepEqual(observe(client.buffers.map(({ inode: _, dmaBuf: __, ...known }) => known)), [
      {
        ...{ name: 'cmb', device: addresses.ssd, region: cmb.region, ranges: [{ offset: 0n, length: MiB }] },
        ...{ size: MiB, exporter: 'vfio_pci_core', generation: 0, state: 'live' },
      },
      {
        ...{ name: 'vram', device: undefined, region: undefined, ranges: undefined },
        ...{ size: 16n * page, exporter: 'vfio_pci_core', generation: 0, state: 'live' },
      },
    ]);
    for (const { dmaBuf, inode } of client.buffers) assert.equal(dmaBuf.inode, inode);
    const shared = client.find('cmb');
    assert(shared);
    const engine = await rig.engine();
    const memory = await rig.memory();
    const { iova } = rig.ioas.mapDmaBuf(shared.dmaBuf);
    await engine.copy(memory.iova, iova, 256);
    const bytes = Buffer.alloc(256);
    rig.device('ssd').region(cmb.region).read(0n, bytes);
    assert.deepEqual(bytes, memory.bytes.subarray(0, 256));
  });

  conforms('tells clients that a device took a buffer back, and when it can be mapped again', async () => {
    serve();
    const [one, other] = [await connect(), await connect()];
    const news: unknown[] = [];
    for (const client of [one, other]) {
      client.on('revoked', ({ name, generation, state }) => news.push(['revoked', name, generation, state]));
      client.on('restored', ({ name, generation, state }) => news.push(['restored', name, generation, state]));
    }
    const both = (event: 'revoked' | 'restored') => Promise.all([told(one, event), told(other, event)]);
    const reset = both('restored');
    await rig.device('ssd').reset();
    await reset;
    const off = both('revoked');
    rig.device('display').command.memory = false;
    await off;
    const on = both('restored');
    rig.device('display').command.memory = true;
    await on;
    assert.deepEqual(observe(news.map(String).sort()), [
      ...['restored,cmb,1,live', 'restored,cmb,1,live', 'restored,vram,1,live', 'restored,vram,1,live'],
      ...['revoked,cmb,1,revoked', 'revoked,cmb,1,revoked', 'revoked,vram,1,revoked', 'revoked,vram,1,revoked'],
    ]);
    const late = await connect();
    observe(late.buffers.map(({ generation, state }) => [generation, state]));
  });

  conforms('ends: what was given stays', async () => {
    const server = serve();
    const client = await connect();
    const ended = once(client, 'end');
    server.close();
    const [error] = (await ended) as unknown[];
    unlessFailing(() => assert.equal(error, undefined));
    assert.equal(observe(client.closed), true);
    assert.equal(observe(client.buffers[0]?.dmaBuf.size), MiB);
    await refuses('ENOENT', () => ShareClient.connect(path));
  });

  conforms('a server that speaks otherwise is refused, and nothing is leaked', async () => {
    const info = { name: 'a', size: '0x1000', inode: '0x1', generation: 0, state: 'live' };
    const hello = (buffers: unknown, version: unknown = 1) => JSON.stringify({ vfioDmabufShare: version, buffers });
    const buffer = rig.exported('ssd', cmb.region, MiB);
    const server = rig.keep(FdServer.listen(path));
    const before = openFds();
    const meet = async (code: string, message: string, fds: DmaBuf[]) => {
      const accepting = server.accept();
      const connecting = refuses(code, () => ShareClient.connect(path));
      const channel = rig.keep(await unlessFailed(accepting, connecting));
      await channel.send(message, fds);
      await connecting;
      channel.close();
      // The client may close its end on another thread.
      for (let i = 0; openFds() > before && i < 200; i += 1) await sleep(5);
      assert(openFds() <= before, message);
    };
    for (const [code, message, fds] of [
      ['ERR_SHARE_PROTOCOL', 'garbage', [buffer]],
      ['ERR_SHARE_PROTOCOL', '[]', [buffer]],
      ['ERR_SHARE_PROTOCOL', hello([info], 'one'), [buffer]],
      ['ERR_SHARE_VERSION', hello([info], 2), [buffer]],
      ['ERR_SHARE_PROTOCOL', hello([info]), []],
      ['ERR_SHARE_PROTOCOL', hello([info]), [buffer, buffer]],
      ['ERR_SHARE_PROTOCOL', hello([{ ...info, size: 4096 }]), [buffer]],
      ['ERR_SHARE_PROTOCOL', hello([{ ...info, state: 'ill' }]), [buffer]],
      ['ERR_MESSAGE_TOO_LONG', hello([info]).padEnd(140_000), [buffer]],
    ] as [string, string, DmaBuf[]][]) {
      await meet(code, message, fds);
    }
  });

  conforms('a description of more than 64 KiB, and one of more than a message can have', async () => {
    const dmaBuf = rig.exported('ssd', cmb.region, MiB);
    const offers = (ranges: number) =>
      Array.from({ length: 30 }, (_, i) => ({
        ...{ name: `buffer ${String(i)}`, dmaBuf, device: addresses.ssd, region: cmb.region },
        ranges: Array.from({ length: ranges }, (_, j) => ({ offset: BigInt(j) * page, length: page })),
      }));
    rig.keep(new ShareServer(path, offers(60)));
    const client = await connect();
    assert.deepEqual(observe([client.buffers.length, client.buffers[29]?.ranges?.length]), [30, 60]);
    await refuses('ERR_OUT_OF_RANGE', () => new ShareServer(`${path}-2`, offers(200)));
  });

  conforms('news that mean nothing end a client', async () => {
    const server = rig.keep(FdServer.listen(path));
    const accepting = server.accept();
    const connecting = connect();
    const channel = rig.keep(await unlessFailed(accepting, connecting));
    await channel.send(JSON.stringify({ vfioDmabufShare: 1, buffers: [] }));
    const client = await connecting;
    const ended = once(client, 'end');
    await channel.send(JSON.stringify({ event: 'revoked', buffer: 3, generation: 1 }));
    const [error] = (await ended) as [{ code?: string }];
    unlessFailing(() => assert.equal(error.code, 'ERR_SHARE_PROTOCOL'));
    assert.equal(observe(client.closed), true);
  });

  conforms('the last news come before the end', async () => {
    const server = rig.keep(FdServer.listen(path));
    const accepting = server.accept();
    const connecting = connect();
    const channel = rig.keep(await unlessFailed(accepting, connecting));
    const buffer = rig.exported('ssd', cmb.region, MiB);
    const inode = `0x${buffer.inode.toString(16)}`;
    const info = { name: 'a', size: '0x100000', inode, generation: 0, state: 'live' };
    await channel.send(JSON.stringify({ vfioDmabufShare: 1, buffers: [info] }), [buffer]);
    const client = await connecting;
    const heard: string[] = [];
    client.on('revoked', ({ state, generation }) => heard.push(`${state} ${String(generation)}`));
    client.on('restored', ({ state, generation }) => heard.push(`${state} ${String(generation)}`));
    const ended = once(client, 'end').then(() => heard.push('end'));
    await channel.send(JSON.stringify({ event: 'revoked', buffer: 0, generation: 1 }));
    await channel.send(JSON.stringify({ event: 'restored', buffer: 0, generation: 1 }));
    channel.close();
    await ended;
    unlessFailing(() => assert.deepEqual(heard, ['revoked 1', 'live 1', 'end']));
    client.close();
  });

  conforms('of nothing, of too much, and of two of one name', async () => {
    const dmaBuf = rig.exported('ssd', cmb.region, MiB);
    await refuses('ERR_OUT_OF_RANGE', () => new ShareServer(path, []));
    await refuses('ERR_OUT_OF_RANGE', () => new ShareServer(path, new Array(254).fill({ name: 'x', dmaBuf }) as never));
    await refuses(
      'ERR_OUT_OF_RANGE',
      () =>
        new ShareServer(
          path,
          [1, 2].map(() => ({ name: 'x', dmaBuf })),
        ),
    );
    await refuses('ERR_INVALID_ARG_TYPE', () => new ShareServer(path, [{ name: 'x', dmaBuf: {} as never }]));
    assert.equal(observe(dmaBuf.references), 1);
  });

  describe('with others', () => {
    const client = (script: string) =>
      start('python3', ['-c', `import socket, os, json, time\npath = ${JSON.stringify(path)}\n${script}`]);
    const connected = 's = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(path)\n';
    /** The reason why the server drops a client that runs this script, while it serves another client. */
    const fate = async (server: ShareServer, script: string): Promise<string> => {
      const good = await connect();
      await sleep(50); // both ends wait, each with a duplicate of its socket
      const fds = openFds();
      const outcome = new Promise<string>((resolve) => {
        server.once('gone', (_, why) => resolve(why));
        server.once('refused', (_, why) => resolve(`refused: ${why}`));
      });
      const child = client(`${connected}s.recv(65536)\n${script}`);
      const why = await outcome;
      child.stdout.resume();
      await once(child, 'close'); // and its pipes are closed
      assert(openFds() <= fds);
      const reset = told(good, 'restored');
      await rig.device('ssd').reset();
      await reset;
      good.close();
      return why;
    };

    conformsBeside([python], 'Python takes them', async () => {
      serve();
      const child = client(
        `${connected}data, fds, flags, _ = socket.recv_fds(s, 65536, 253)
hello = json.loads(data)
print(hello["vfioDmabufShare"], [b["name"] for b in hello["buffers"]], len(fds))`,
      );
      assert.equal(observe((await text(child.stdout)).trim()), "1 ['cmb', 'vram'] 2");
    });

    conformsBeside([python], 'who says something is dropped', async () => {
      const server = serve();
      assert.equal(observe(await fate(server, 's.send(b"hello")')), 'it said something');
    });

    conformsBeside([python], 'who sends fds, or too much, is dropped, and nothing is leaked', async () => {
      const server = serve();
      const many = '[os.dup(0) for _ in range(200)]';
      const sends = `try: socket.send_fds(s, [b"x"], ${many})\nexcept PermissionError: pass`;
      // Linux 6.16 refuses the fds when they are sent.
      assert.match(await fate(server, sends), /it said something|it closed/);
      assert.match(observe(await fate(server, 's.send(b"x" * 100000)')), /more than 65536 bytes/);
    });

    conformsBeside([python], 'who is gone was there before', async () => {
      const server = serve();
      const heard: string[] = [];
      server.on('connected', () => heard.push('connected'));
      const gone = once(server, 'gone').then(() => heard.push('gone'));
      const one = rig.keep(FdChannel.connect(path));
      await one.send('hello');
      await gone;
      assert.deepEqual(observe(heard), ['connected', 'gone']);
    });

    conformsBeside([python], 'who just closes is forgotten', async () => {
      const server = serve();
      assert.match(await fate(server, 's.close()'), /it closed|peer has closed/);
      if (server.clients.length > 0) await once(server, 'gone');
      assert.equal(observe(server.clients.length), 0);
    });

    conformsBeside([python], 'who never reads is dropped after a while', async () => {
      const server = serve({ patience: 200 });
      client(`${connected}print("in", flush=True)\ntime.sleep(60)`);
      const [peer] = (await once(server, 'connected')) as [{ pid: number }];
      const dropped = once(server, 'gone') as Promise<[{ pid: number }, string]>;
      const { command } = rig.device('display');
      for (let i = 0; i < 2000; i += 1) {
        command.memory = false;
        command.memory = true;
      }
      const [who, why] = await dropped;
      assert.equal(who.pid, peer.pid);
      observe(why);
    });

    conformsBeside([python], 'who leaves a single message unread is dropped as well', async () => {
      const server = serve({ patience: 1000 });
      const good = await connect();
      const stalled = client(`${connected}print("in", flush=True)\ntime.sleep(60)`);
      const [peer, why] = (await once(server, 'gone')) as [{ pid: number }, string];
      assert.equal(peer.pid, stalled.pid);
      assert.equal(observe(why), 'it does not read');
      await sleep(1200);
      assert.equal(observe(server.clients.length), 1);
      good.close();
    });

    conformsBeside([python], 'who reads nothing is dropped, however much comes', async () => {
      const server = serve({ patience: 1000 });
      const good = await connect();
      const stalled = client(`${connected}time.sleep(60)`);
      const gone = once(server, 'gone') as Promise<[{ pid: number }, string]>;
      const { command } = rig.device('display');
      const news = every(100, () => {
        command.memory = !command.memory;
      });
      const [{ pid }, why] = await gone;
      await sleep(1200);
      clearInterval(news);
      command.memory = true;
      assert.equal(pid, stalled.pid);
      assert.equal(observe(why), 'it does not read');
      assert.equal(observe(server.clients.length), 1);
      good.close();
    });

    conformsBeside([python, superuser], 'a group is served, also those who are in it besides', async () => {
      chmodSync(folder, 0o755);
      const server = serve({ mode: 0o660, group: 4711, gids: [4711] });
      assert.equal(observe((statSync(path).mode & 0o777).toString(8)), '660');
      for (const groups of ['os.setgroups([]); os.setgid(4711)', 'os.setgroups([5, 4711]); os.setgid(65534)']) {
        const child = client(`${groups}; os.setuid(65534)\n${connected}print(len(s.recv(100)))`);
        const [peer] = (await once(server, 'connected')) as [{ uid: number }];
        assert.equal(observe(peer.uid), 65534);
        assert.equal(observe((await text(child.stdout)).trim()), '100');
      }
      const outside = client(`os.setgroups([]); os.setgid(5); os.setuid(65534)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
print(s.connect_ex(path))`);
      assert.equal(observe((await text(outside.stdout)).trim()), '13'); // EACCES
    });

    conformsBeside([python, superuser], 'who is not served is refused', async () => {
      chmodSync(folder, 0o755);
      const server = serve({ mode: 0o666, uids: [0] });
      const child = client(`os.setgid(65534); os.setuid(65534)\n${connected}print(len(s.recv(100)))`);
      const [peer] = (await once(server, 'refused')) as [{ uid: number }];
      assert.equal(observe(peer.uid), 65534);
      assert.equal(observe((await text(child.stdout)).trim()), '0');
      const full = rig.keep(
        new ShareServer(`${path}-full`, [{ name: 'x', dmaBuf: rig.exported('ssd', cmb.region, MiB) }], { clients: 1 }),
      );
      rig.keep(await ShareClient.connect(full.path));
      await refuses('ERR_SHARE_REFUSED', () => ShareClient.connect(full.path));
    });
  });
});
