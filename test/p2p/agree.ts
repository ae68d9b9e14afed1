// Runs in the virtual machine, and compares the library's verdict on every pair of devices with the kernel's. For two
// drives it uses the kernel itself: one drive reads a block into the other's Controller Memory Buffer. For other pairs
// it uses the rules of the kernel's source (rules.ts). Writes the results as JSON.
//   agree.ts FILE [HOST]     HOST: the file for the recorded host
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PciTopology, type P2pPath, type PciFunction } from '../../lib';
import { recordHost } from '../hosts/recorded';
import { decide } from './rules';

/** The kernel's decision for each result of a read. */
const meanings: Readonly<Record<string, P2pPath['verdict']>> = {
  ok: 'host-bridge', // through the IOMMU
  // By bus address: a switch would route it, but QEMU sends everything through the IOMMU, which has no mapping for it.
  wrong: 'direct',
  [String(constants.errno.EINVAL)]: 'unsupported',
};

/** The result for a pair, as the parent receives it. */
export interface Pair {
  from: string;
  to: string;
  /** Serial numbers for drives. */
  names: [string, string];
  verdict: P2pPath['verdict'];
  distance: number | undefined;
  /** The origin of the kernel's verdict. */
  judge: 'kernel' | 'its source';
  /** A kernel parameter that would improve the verdict. */
  advice?: string | undefined;
}

const folder = '/sys/bus/pci/devices';
const program = join(mkdtempSync(join(tmpdir(), 'p2p-')), 'read-into');
const compiler = spawnSync('cc', ['-o', program, join(__dirname, 'read-into.c')], { encoding: 'utf8' });
assert.equal(compiler.status, 0, compiler.stderr);

/** '/dev/nvme0n1' of the drive with this address; undefined: the kernel has no such drive. */
function diskOf({ address }: PciFunction): string | undefined {
  const controllers = join(folder, address, 'nvme');
  const [controller] = existsSync(controllers) ? readdirSync(controllers) : [];
  return controller === undefined ? undefined : `/dev/${controller}n1`;
}

const memoryOf = ({ address }: PciFunction) => join(folder, address, 'p2pmem/allocate');

function name({ address }: PciFunction): string {
  const controllers = join(folder, address, 'nvme');
  const [controller] = existsSync(controllers) ? readdirSync(controllers) : [];
  return controller === undefined ? address : readFileSync(join(controllers, controller, 'serial'), 'utf8').trim();
}

const log = () => spawnSync('dmesg', { encoding: 'utf8' }).stdout;

/** The messages in the kernel's log that belong to a verdict. */
const witnesses: Partial<Record<P2pPath['verdict'], (client: string) => string>> = {
  unsupported: (client) => `${client}: cannot be used for peer-to-peer DMA`,
  direct: (client) => `Request device [${client}] fault addr`,
};

/** The kernel's verdict on a disk's DMA to another drive's memory. */
async function ask(disk: string, to: PciFunction, from: PciFunction): Promise<Pick<Pair, 'verdict' | 'advice'>> {
  const before = log().length;
  const { status, stdout } = spawnSync(program, [disk, memoryOf(from)], { encoding: 'utf8' });
  assert.equal(status, 0, `read-into ${disk} exits with ${String(status)}`);
  const verdict = meanings[stdout.trim()];
  assert(verdict, `reading ${disk} into the memory of ${from.address}: ${stdout}`);
  let said = '';
  for (const [result, witness] of Object.entries(witnesses)) {
    const isSaid = () => (said = log().slice(before)).includes(witness(to.address));
    for (let i = 0; i < 50 && result === verdict && !isSaid(); i += 1) await sleep(20); // the message may be delayed
    assert.equal(isSaid(), result === verdict, `${stdout}, and yet: ${said}`);
  }
  return { verdict, advice: /pci=disable_acs_redir=\S+/.exec(said)?.[0] };
}

async function main(): Promise<void> {
  const topology = PciTopology.read();
  const devices = topology.p2pMatrix().devices;
  const matrix = topology.p2pMatrix();
  const pairs: Pair[] = [];
  for (const [i, from] of devices.entries()) {
    for (const [j, to] of devices.entries()) {
      if (i === j) continue;
      const path = topology.p2pPath(from, to);
      const { verdict, distance } = path;
      const where = `${name(from)} to ${name(to)}`;
      const reckoned = decide(from.address, to.address);
      assert.deepEqual({ verdict, distance }, reckoned, where);
      assert.equal(matrix.verdict(i, j), verdict, where);
      const disk = diskOf(to);
      const said = disk !== undefined && existsSync(memoryOf(from)) ? await ask(disk, to, from) : undefined;
      const advice = path.advice.find(({ kernelParameter }) => kernelParameter !== undefined)?.kernelParameter;
      if (said) assert.deepEqual({ verdict, advice }, said, where);
      const judge = said ? 'kernel' : 'its source';
      pairs.push({
        from: from.address,
        to: to.address,
        names: [name(from), name(to)],
        verdict,
        distance,
        judge,
        advice,
      });
    }
  }
  const [, , pairsFile = '/dev/stdout', hostFile] = process.argv;
  writeFileSync(pairsFile, JSON.stringify(pairs));
  if (hostFile !== undefined) writeFileSync(hostFile, JSON.stringify(recordHost()));
}

void main();
