// The command `vfio-dmabuf share`.
import { InvalidArgumentError, Option, type Command } from 'commander';
import { Iommufd } from '../iommufd/iommufd';
import type { PeerCredentials } from '../ipc/fd-channel';
import { ShareServer, type ShareOffer } from '../ipc/share-server';
import { VfioDevice } from '../vfio/device';
import type { DmaRange } from '../vfio/export';
import { print, size } from './output';
import { rangeOption, regionOption } from './ranges';

interface Options {
  region: number;
  range: DmaRange[];
  socket: string;
  mode: number;
  uid: number[];
  gid: number[];
  clients: number;
  clientsPerUser?: number;
  json?: boolean;
}

function toId(text: string, before: number[]): number[] {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('an id is a number');
  return [...before, Number(text)];
}

function toMode(text: string): number {
  if (!/^0?[0-7]{1,3}$/.test(text)) throw new InvalidArgumentError('a mode is octal: 660');
  return Number.parseInt(text, 8);
}

function toCount(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text) || Number(text) > 65536) throw new InvalidArgumentError('a number from 1 to 65536');
  return Number(text);
}

const who = ({ pid, uid, gid }: PeerCredentials) => `pid ${String(pid)}, user ${String(uid)}, group ${String(gid)}`;
const hex = (value: number | bigint) => `0x${value.toString(16)}`;

const complain = (error: unknown) =>
  console.error(`vfio-dmabuf: ${error instanceof Error ? error.message : String(error)}`);

/** Prints `greeting`, then each event as text or as a line of JSON, until a signal arrives. */
async function serve(server: ShareServer, device: VfioDevice, asJson: boolean, greeting: string): Promise<void> {
  const tell = (event: string, peer: PeerCredentials, words: string, why?: string) => {
    const { pid, uid, gid } = peer;
    print(
      asJson
        ? JSON.stringify({ event, pid, uid, gid, why })
        : `${words} ${who(peer)}${why === undefined ? '' : `: ${why}`}`,
    );
  };
  server.on('connected', (peer) => tell('connected', peer, 'serving'));
  server.on('refused', (peer, why) => tell('refused', peer, 'refused', why));
  server.on('gone', (peer, why) => tell('gone', peer, 'gone', why));
  server.on('failed', complain);
  const reset = () => void device.reset().catch(complain);
  process.on('SIGUSR2', reset);
  // The handlers stay installed, so that a repeated signal (from a terminal and from npm) does not interrupt the
  // shutdown.
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'].map((name) => new Promise((resolve) => process.on(name, resolve)));
  print(greeting); // install the handlers first: a reader may send a signal immediately
  // EPIPE: the reader has closed the pipe
  const unheard = new Promise((resolve) => process.stdout.on('error', resolve));
  await Promise.race([...signals, unheard]);
  process.off('SIGUSR2', reset);
}

export function addShare(program: Command): void {
  program
    .command('share')
    .description('serve parts of a BAR as dma-bufs on a Unix socket, until it is stopped')
    .argument('<address>', 'PCI address of a device that vfio-pci has')
    .addOption(regionOption())
    .addOption(rangeOption('each a dma-buf of its own'))
    .requiredOption('-s, --socket <path>', 'where to listen; @NAME: in the abstract namespace')
    .addOption(
      new Option('--mode <octal>', "the socket's mode: who may connect").default(0o600, '600').argParser(toMode),
    )
    .addOption(
      new Option('--uid <id>', 'a user who is served; again for more')
        .default([], 'this one, and root')
        .argParser(toId),
    )
    .addOption(
      new Option('--gid <id>', 'a group that is served besides; the first is the socket file’s, too')
        .default([], 'none')
        .argParser(toId),
    )
    .addOption(new Option('--clients <n>', 'how many clients are served at once').default(64).argParser(toCount))
    .addOption(
      new Option('--clients-per-user <n>', 'how many of one user; not for root and this user')
        .default(undefined, 'a quarter of --clients')
        .argParser(toCount),
    )
    .option('--json', 'a line of JSON for each event: { event, socket, buffers }, { event, pid, uid, gid, why }')
    .addHelpText(
      'after',
      `
A client gets all buffers, an fd each, with a JSON message that tells what they are; it is told when the device takes them
back, and when they can be mapped again. docs/share.md has the protocol; in JavaScript it is ShareClient.connect(path). SIGUSR2 resets the device.

Example:
  $ sudo vfio-dmabuf share 03:00.0 --region 2 --range 0:1M --socket /run/cmb --mode 660 --gid 100
`,
    )
    .action(
      async (address: string, { region, range, socket, mode, uid, gid, json: asJson = false, ...limits }: Options) => {
        await using iommufd = Iommufd.open();
        await using device = await VfioDevice.open(address, { iommufd });
        device.command.memory = true;
        const ranges = range.length > 0 ? range : [{ offset: 0n, length: device.region(region).size }];
        const name = device.address ?? address;
        const offers = ranges.map(({ offset, length }): ShareOffer => ({
          ...{
            name: `${name} BAR ${String(region)} ${hex(offset)}`,
            device: name,
            region,
            ranges: [{ offset, length }],
          },
          dmaBuf: device.exportDmaBuf({ region, offset, length }),
        }));
        const { clients, clientsPerUser } = limits;
        const ofUser = clientsPerUser === undefined ? {} : { clientsPerUser };
        const users = { ...(uid.length > 0 ? { uids: uid } : {}), gids: gid };
        const [group] = gid;
        using server = new ShareServer(socket, offers, {
          mode,
          clients,
          ...ofUser,
          ...users,
          ...(group === undefined ? {} : { group }),
        });
        for (const { dmaBuf } of offers) dmaBuf.close();
        const parts = offers.map(({ name, ranges: [part] = [] }) => ({ name, size: BigInt(part?.length ?? 0) }));
        const words = parts.map((part) => `${part.name}, ${size(part.size)}`).join('; ');
        const buffers = parts.map((part) => ({ name: part.name, size: hex(part.size) }));
        const greeting = asJson ? JSON.stringify({ event: 'listening', socket, buffers }) : `${socket}: ${words}`;
        await serve(server, device, asJson, greeting);
      },
    );
}
