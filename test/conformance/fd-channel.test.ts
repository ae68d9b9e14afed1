// Channels that transfer file descriptors: between objects of this process, and to sockets of Python.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, linkSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DmaBuf,
  DmaMemory,
  FdChannel,
  FdServer,
  Iommufd,
  ReceivedFd,
  VfioDevice,
  type ChannelKind,
  type FdMessage,
  type FdSource,
} from '../../lib';
import { start, temporaryFolder } from '../cleanup';
import { prlimit, python, qemu } from '../needs';
import { closesOnExec, inodeOf, openFds } from './fds';
import { conforms, conformsBeside, endsWith, isPending, observe, refuses, report } from './record';
import { cmb, collectGarbage, MiB, useRig } from './rig';

const kinds = ['seqpacket', 'stream'] as const satisfies ChannelKind[];

/** The lines that a stream receives. */
async function* linesOf(channel: FdChannel): AsyncGenerator<string, undefined> {
  let rest = '';
  for await (const message of channel) {
    using _ = message;
    const lines = (rest + Buffer.from(message.bytes).toString()).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  return undefined;
}

describe('a channel for fds', () => {
  const rig = useRig('ssd');
  const pair = (kind: ChannelKind = 'seqpacket', maxBytes?: number) => {
    const [one, other] = FdChannel.pair(maxBytes === undefined ? { kind } : { kind, maxBytes });
    return [rig.keep(one), rig.keep(other)] as const;
  };
  const next = async (channel: FdChannel): Promise<FdMessage> => {
    const message = await channel.receive();
    assert(message, 'the channel ended');
    for (const fd of message.fds) rig.keep(fd);
    return message;
  };
  const told = ({ bytes, fds }: FdMessage) => [Buffer.from(bytes).toString(), fds.length];
  const memory = (content: string) => {
    const made = rig.keep(DmaMemory.alloc(4096));
    Buffer.from(made.buffer).write(content);
    return made;
  };

  for (const kind of kinds) {
    conforms(`${kind}: bytes and fds, both ways`, async () => {
      const [one, other] = pair(kind);
      const source = memory('from one');
      await one.send('hello', [source, source.fd]);
      const message = await next(other);
      assert.deepEqual(observe(told(message)), ['hello', 2]);
      const [first] = message.fds;
      assert(first);
      assert.notEqual(first.fd, source.fd);
      assert.equal(inodeOf(first.fd), inodeOf(source.fd));
      await other.send(new Uint8Array([7]));
      assert.deepEqual(observe(told(await next(one))), ['\u0007', 0]);
      assert.equal(observe(one.peer.pid === process.pid), true);
    });

    conforms(`${kind}: the end, when the peer closes`, async () => {
      const [one, other] = pair(kind);
      await one.send('last');
      one.close();
      observe(told(await next(other)));
      assert.equal(observe(await other.receive()), undefined);
      await refuses('EPIPE', () => other.send('to nobody'));
    });

    conforms(`${kind}: what is not taken makes the sender wait, in order`, async () => {
      const [one, other] = pair(kind);
      const parts = Array.from({ length: 40 }, (_, i) => Buffer.alloc(20_000, i));
      const source = memory('kept');
      const sending = parts.map((part) => one.send(part, [source]));
      const all = Promise.all(sending);
      all.catch((error: unknown) => {
        report(error);
        one.close(); // ends the wait for the rest
      });
      assert.equal(await isPending(all), true);
      source.close(); // the message has its own duplicates
      let [bytes, fds] = [0, 0];
      const seen: number[] = [];
      while (bytes < 800_000) {
        const message = await next(other);
        bytes += message.bytes.length;
        fds += message.fds.length;
        for (const fd of message.fds) fd.close();
        for (const i of [message.bytes[0], message.bytes.at(-1)]) if (i !== seen.at(-1)) seen.push(i ?? -1);
      }
      await all;
      assert.equal(observe(fds), 40);
      assert.deepEqual(observe(seen), [...parts.keys()]);
    });

    conforms(`${kind}: waiting ends by a signal, and by close`, async () => {
      const [one] = pair(kind);
      const aborting = new AbortController();
      const waiting = one.receive({ signal: aborting.signal });
      aborting.abort();
      await endsWith({ name: 'AbortError' }, () => waiting);
      await endsWith({ name: 'AbortError' }, () => one.send('x', [], { signal: AbortSignal.abort() }));
      const closing = one.receive();
      await endsWith({ name: 'TimeoutError' }, () => one.receive({ signal: AbortSignal.timeout(5) })); // behind another
      one.close();
      await refuses('ERR_CLOSED', () => closing);
      await refuses('ERR_CLOSED', () => one.send('x'));
      await refuses('ERR_CLOSED', () => one.receive());
      await refuses('ERR_CLOSED', () => one.fd);
    });
  }

  conforms('a dma-buf goes over as itself', async () => {
    const [one, other] = pair();
    const exported = rig.exported('ssd', cmb.region, MiB);
    await one.send('a piece of the CMB', [exported]);
    const { fds } = await next(other);
    const same = rig.keep(DmaBuf.fromFd(fds[0]?.fd ?? -1));
    assert.deepEqual([same.inode, observe(same.size)], [exported.inode, MiB]);
    const mapping = rig.ioas.mapDmaBuf(same);
    await rig.device('ssd').reset();
    assert.equal(observe(mapping.state), 'revoked');
  });

  conforms('a dma-buf that is closed before it is received stays what it is', async () => {
    const [one, other] = pair();
    const exported = rig.exported('ssd', cmb.region, MiB);
    const { inode } = exported;
    await one.send('a piece of the CMB', [exported]);
    exported.close();
    const { fds } = await next(other);
    const same = rig.keep(DmaBuf.fromFd(fds[0]?.fd ?? -1));
    assert.equal(same.inode, inode);
    assert.equal(observe(rig.ioas.mapDmaBuf(same).length), MiB);
  });

  conforms('one that nobody receives is gone with the channel', async () => {
    const [one, other] = pair();
    const exported = rig.exported('ssd', cmb.region, MiB);
    const before = openFds();
    await one.send('a piece of the CMB', [exported]);
    exported.close();
    other.close();
    one.close();
    rig.iommufd.allocIoas().close();
    assert(openFds() < before);
  });

  conforms('tells what its peer has not read', async () => {
    for (const kind of ['seqpacket', 'stream'] as const) {
      const [one, other] = pair(kind);
      assert.equal(observe(one.unread), 0);
      await one.send('one');
      const some = one.unread;
      assert(some > 0);
      await one.send('two');
      assert(one.unread > some);
      await next(other);
      if (kind === 'seqpacket') await next(other);
      assert.equal(observe(one.unread), 0);
      one.close();
      await refuses('ERR_CLOSED', () => one.unread);
    }
  });

  conforms('an iommufd and a device that is bound to it go over', async () => {
    const [one, other] = pair();
    await one.send('both', [rig.iommufd, rig.device('ssd')]);
    const { fds } = await next(other);
    const iommufd = rig.keep(Iommufd.fromFd(fds[0]?.fd ?? -1));
    const device = rig.keep(await VfioDevice.open(fds[1]?.fd ?? -1));
    assert.equal(observe(device.region(cmb.region).size), cmb.size);
    const ioas = rig.keep(iommufd.allocIoas());
    assert.notEqual(ioas.id, rig.ioas.id); // of the same iommufd
    const exported = rig.keep(device.exportDmaBuf({ region: cmb.region, offset: 0n, length: MiB }));
    assert.equal(observe(ioas.mapDmaBuf(exported).state), 'live');
    await device.attach(ioas);
    await device.detach();
    await refuses('EBUSY', () => {
      iommufd.rlimitMode = 'process'; // it must be set before any object exists
    });
  });

  conforms('messages keep their bounds, and one that is too long is an error', async () => {
    const [one, other] = pair('seqpacket', 8);
    const source = memory('lost');
    const before = openFds();
    await one.send('12345678');
    await one.send('123456789', [source]);
    await one.send('short');
    observe(told(await next(other)));
    await refuses('ERR_MESSAGE_TOO_LONG', () => other.receive());
    observe(told(await next(other)));
    assert.equal(openFds(), before);
  });

  conforms('what came is not kept', async () => {
    const [one, other] = pair();
    const exchange = async () => {
      await one.send('something');
      return new WeakRef((await next(other)).bytes);
    };
    const first = await exchange();
    for (let i = 0; i < 3; i += 1) await exchange();
    await collectGarbage();
    assert.equal(observe(first.deref()), undefined);
  });

  conforms('what waits to be sent is what it was', async () => {
    const [one, other] = pair();
    const sending: Promise<void>[] = [];
    for (let i = 0; i < 10; i += 1) {
      const bytes = Buffer.alloc(60_000, 'A');
      sending.push(one.send(bytes));
      bytes.fill('B');
    }
    for (let i = 0; i < 10; i += 1) assert.equal(Buffer.from((await next(other)).bytes).indexOf('B'), -1);
    await Promise.all(sending);
  });

  conforms('what came before the peer went is received, although it has not read all', async () => {
    const [one, other] = pair();
    await one.send('unread');
    await other.send('first');
    await other.send('second');
    other.close();
    assert.deepEqual(observe([told(await next(one)), told(await next(one))]), [
      ['first', 0],
      ['second', 0],
    ]);
    await refuses('ECONNRESET', () => one.receive());
  });

  conforms('the event loop turns, however much comes', async () => {
    const [one, other] = pair();
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    for (let i = 0; i < 200; i += 1) {
      await one.send('again');
      await next(other);
    }
    assert.equal(observe(turned), true);
  });

  conforms('several who receive get one each, in order', async () => {
    const [one, other] = pair();
    const receiving = [next(other), next(other)];
    for (const word of ['first', 'second']) await one.send(word);
    assert.deepEqual(observe((await Promise.all(receiving)).map(told)), [
      ['first', 0],
      ['second', 0],
    ]);
    const seen: unknown[] = [];
    for (const word of ['third', 'fourth']) await one.send(word);
    one.close();
    for await (const message of other) seen.push(told(message));
    assert.deepEqual(observe(seen), [
      ['third', 0],
      ['fourth', 0],
    ]);
  });

  conforms('what cannot be sent', async () => {
    const [one] = pair();
    await refuses('ERR_OUT_OF_RANGE', () => one.send(''));
    await refuses('ERR_OUT_OF_RANGE', () => one.send(new Uint8Array((1 << 20) + 1)));
    await refuses('ERR_OUT_OF_RANGE', () => one.send('x', new Array<number>(254).fill(0)));
    await refuses('ERR_OUT_OF_RANGE', () => one.send('x', [-1]));
    await refuses('ERR_INVALID_ARG_TYPE', () => one.send(7 as unknown as string));
    await refuses('ERR_INVALID_ARG_TYPE', () => one.send('x', ['0' as unknown as number]));
    await refuses('EBADF', () => one.send('x', [999_999]));
    await refuses('ERR_OUT_OF_RANGE', () => FdChannel.pair({ kind: 'datagram' as 'stream' }));
    await refuses('ERR_OUT_OF_RANGE', () => FdChannel.pair({ maxBytes: 0 }));
    const source = memory('no socket');
    await refuses('ENOTSOCK', () => FdChannel.fromFd(source.fd));
  });

  describe('at a path', () => {
    let folder: string;
    beforeEach(() => {
      folder = temporaryFolder();
    });

    conforms('is connected to, and tells who', async () => {
      const path = join(folder, 'socket');
      const server = rig.keep(FdServer.listen(path, { mode: 0o640 }));
      assert.equal(observe((statSync(path).mode & 0o777).toString(8)), '640');
      const client = rig.keep(FdChannel.connect(path));
      const accepted = rig.keep(await server.accept());
      const { groups, ...peer } = accepted.peer;
      assert.deepEqual(peer, { pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() });
      assert(groups.every((group) => process.getgroups?.().includes(group)));
      await client.send('in');
      observe(told(await next(accepted)));
      server.close();
      assert.equal(observe(existsSync(path)), false);
      await accepted.send('still there');
      observe(told(await next(client)));
      await refuses('ENOENT', () => FdChannel.connect(path));
    });

    conforms('closes on exec, like all that comes over it', async () => {
      const server = rig.keep(FdServer.listen(join(folder, 'socket')));
      const ours = rig.keep(FdChannel.connect(server.path));
      const theirs = rig.keep(await server.accept());
      await ours.send('one', [memory('one')]);
      const { fds } = await next(theirs);
      const inherited = rig.keep(FdChannel.fromFd(ours.fd));
      const taken = rig.keep(ReceivedFd.fromProcess(process.pid, ours.fd));
      for (const { fd } of [ours, theirs, ...fds, ...pair(), inherited, taken]) assert(closesOnExec(fd), String(fd));
    });

    conforms('is taken: EADDRINUSE; left by a dead process: replaced', async () => {
      const path = join(folder, 'socket');
      const server = rig.keep(FdServer.listen(path));
      await refuses('EADDRINUSE', () => FdServer.listen(path));
      await refuses('EPROTOTYPE', () => FdChannel.connect(path, { kind: 'stream' }));
      // A killed process leaves its socket's file, which has no listener.
      const left = `${path}-left`;
      const gone = FdServer.listen(`${path}-gone`);
      linkSync(gone.path, left);
      gone.close();
      rig.keep(FdServer.listen(left));
      rig.keep(FdChannel.connect(left));
      writeFileSync(`${path}-file`, '');
      await refuses('EADDRINUSE', () => FdServer.listen(`${path}-file`));
      server.close();
      await refuses('ERR_CLOSED', () => server.accept());
      await refuses('ERR_OUT_OF_RANGE', () => FdServer.listen('x'.repeat(108)));
    });

    conforms('in the abstract namespace there is no file', async () => {
      const path = `@vfio-dmabuf-test-${String(process.pid)}`;
      const server = rig.keep(FdServer.listen(path));
      const client = rig.keep(FdChannel.connect(path));
      const accepted = rig.keep(await server.accept());
      await accepted.send('hello');
      observe(told(await next(client)));
      const waiting = server.accept();
      server.close();
      await refuses('ERR_CLOSED', () => waiting);
    });
  });

  conforms('an fd is taken from a process', async () => {
    const source = memory('taken');
    const taken = rig.keep(ReceivedFd.fromProcess(process.pid, source.fd));
    assert.notEqual(taken.fd, source.fd);
    assert.equal(inodeOf(taken.fd), inodeOf(source.fd));
    const exported = rig.exported('ssd', cmb.region, MiB);
    const same = rig.keep(DmaBuf.fromFd(rig.keep(ReceivedFd.fromProcess(process.pid, exported.fd)).fd));
    assert.equal(observe(same.size), MiB);
    await refuses('EBADF', () => ReceivedFd.fromProcess(process.pid, 999_999));
    await refuses('ESRCH', () => ReceivedFd.fromProcess(0x3fff_ffff, 0));
    await refuses('ERR_OUT_OF_RANGE', () => ReceivedFd.fromProcess(0, 0));
  });

  conformsBeside([prlimit], 'more fds than this process can open are an error, and none is leaked', async () => {
    const [one, other] = pair();
    const source = memory('too many');
    const before = openFds();
    const was = /Max open files +(\d+)/.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? '1024';
    const limit = (soft: string) =>
      spawnSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:`], { stdio: 'inherit' });
    await one.send('too many', new Array<DmaMemory>(100).fill(source));
    await one.send('next', [source]);
    limit(String(before + 20)); // enough fds to start prlimit once more
    try {
      await refuses('ERR_FDS_LOST', () => other.receive());
      const message = await next(other);
      observe(told(message));
      for (const fd of message.fds) fd.close();
    } finally {
      limit(was);
    }
    assert.equal(openFds(), before);
  });

  conformsBeside([], 'an fd is taken from a child process', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, 'of a child');
    const script = `console.log(fs.openSync(${JSON.stringify(file)})); process.stdin.resume();`;
    const child = start(process.execPath, ['-e', script]);
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const taken = rig.keep(ReceivedFd.fromProcess(child.pid ?? 0, Number(line.toString())));
    assert.equal(observe(readFileSync(`/proc/self/fd/${String(taken.fd)}`, 'latin1')), 'of a child');
  });

  conformsBeside([], 'a dma-buf is inherited by a child process', async () => {
    const exported = rig.exported('ssd', cmb.region, MiB);
    const script = 'console.log(String(fs.fstatSync(3, { bigint: true }).ino))';
    const child = start(process.execPath, ['-e', script], { fds: [exported.fd] });
    assert.equal((await text(child.stdout)).trim(), String(exported.inode));
  });

  conformsBeside([qemu], 'QEMU takes fds over its QMP socket', async () => {
    const path = join(temporaryFolder(), 'socket');
    const child = start('qemu-system-x86_64', [
      '-machine',
      'none',
      '-nodefaults',
      '-display',
      'none',
      '-qmp',
      `unix:${path},server=on,wait=off`,
    ]);
    while (!existsSync(path)) await sleep(20);
    const channel = rig.keep(FdChannel.connect(path, { kind: 'stream' }));
    const lines = linesOf(channel);
    const ask = async (execute: string, args: object = {}, fds: FdSource[] = []): Promise<unknown> => {
      await channel.send(JSON.stringify({ execute, arguments: args }), fds);
      const answer = JSON.parse((await lines.next()).value ?? '') as { return?: unknown; error?: { desc: string } };
      assert.equal(answer.error, undefined);
      return answer.return;
    };
    assert.match((await lines.next()).value ?? '', /"QMP"/);
    await ask('qmp_capabilities');
    const exported = rig.exported('ssd', cmb.region, MiB);
    await ask('getfd', { fdname: 'cmb' }, [exported]);
    const { 'fdset-id': set, fd } = (await ask('add-fd', { opaque: 'cmb' }, [exported])) as Record<string, number>;
    const sets = (await ask('query-fdsets')) as { 'fdset-id': number; fds: { fd: number; opaque: string }[] }[];
    assert.deepEqual(observe(sets.map(({ fds }) => fds.map(({ opaque }) => opaque))), [['cmb']]);
    assert.deepEqual([sets[0]?.['fdset-id'], sets[0]?.fds[0]?.fd], [set, fd]);
    // QEMU's fd must refer to the same file as the one that it received.
    const back = rig.keep(ReceivedFd.fromProcess(child.pid ?? 0, fd ?? -1));
    assert.equal(inodeOf(back.fd), inodeOf(exported.fd));
    await ask('closefd', { fdname: 'cmb' });
    await ask('quit');
    await once(child, 'exit');
  });

  describe('with Python', () => {
    const ask = async (channel: FdChannel, script: string): Promise<string> => {
      const child = start('python3', ['-c', `import socket, os, mmap\ns = socket.socket(fileno=3)\n${script}`], {
        fds: [channel.fd],
      });
      channel.close(); // the child inherited it
      const [output, [status]] = await Promise.all([text(child.stdout), once(child, 'exit') as Promise<[number]>]);
      assert.equal(status, 0);
      return output.trim();
    };

    conformsBeside([python], 'it waits for what is not there yet', async () => {
      const [one, other] = pair();
      const output = ask(other, 'print(s.recv(100).decode())');
      await sleep(300);
      await one.send('later');
      assert.equal(observe(await output), 'later');
    });

    for (const kind of kinds) {
      conformsBeside([python], `${kind}: it reads what is sent, and writes into it`, async () => {
        const [one, other] = pair(kind);
        const source = memory('written by us');
        await one.send('look', [source]);
        const output = await ask(
          other,
          `data, fds, flags, _ = socket.recv_fds(s, 100, 4)
m = mmap.mmap(fds[0], 4096)
print(data.decode(), len(fds), m[:13].decode())
m[:9] = b"by Python"`,
        );
        assert.equal(observe(output), 'look 1 written by us');
        assert.equal(Buffer.from(source.buffer).toString('latin1', 0, 9), 'by Python');
      });

      conformsBeside([python], `${kind}: it sends fds`, async () => {
        const [one, other] = pair(kind);
        await ask(
          other,
          `fds = [os.memfd_create("m") for _ in range(3)]
[os.write(fd, b"memory %d" % i) for i, fd in enumerate(fds)]
socket.send_fds(s, [b"three"], fds)`,
        );
        const message = await next(one);
        assert.deepEqual(observe(told(message)), ['three', 3]);
        assert.equal(observe(await one.receive()), undefined);
      });
    }
  });
});
