// npm run test:p2p [-- --record] [--importer-kernel IMAGE]: compares the verdicts of the library and of a real kernel on every pair of devices,
// in a machine with every kind of PCI path (test/p2p/fabric.ts). It boots with a CPU that the kernel does not trust,
// with one that it trusts, and with the kernel parameter that the library advised, after which it compares the IOMMU
// groups with those that the library predicted. With --record it writes the machine and the verdicts to
// test/hosts/virtual-machine.json. With --importer-kernel, an image with CONFIG_DRM_VIRTIO_GPU and CONFIG_DRM_VGEM, it
// also compares the verdicts with imports by virtio-gpu.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PciTopology } from '../lib';
import { reference } from '../lib/fake';
import type { FutureGroup } from '../lib';
import { writeRecorded, type RecordedHost } from '../test/hosts/recorded';
import type { Pair } from '../test/p2p/agree';
import { fabric } from '../test/p2p/fabric';
import { exitWith } from './exit';
import { importOn } from './p2p/importers';
import { runInVm } from './vm/vm';

const { values } = parseArgs({
  options: { record: { type: 'boolean', default: false }, 'importer-kernel': { type: 'string' } },
});
const recorded = join(__dirname, '../test/hosts/virtual-machine.json');
const shared = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-p2p-'));
process.once('exit', () => {
  rmSync(shared, { recursive: true, force: true });
});

const amd = { old: { vendor: 'AuthenticAMD', family: 15 }, zen: { vendor: 'AuthenticAMD', family: 0x17 } };

/** Boots the machine. Returns the verdict on each pair, on which the library and the kernel agree. */
async function boot(cpu: { vendor: string; family: number }, parameters: readonly string[] = []): Promise<Pair[]> {
  const [pairs, host] = [join(shared, 'pairs.json'), join(shared, 'host.json')];
  const status = await runInVm({
    machine: { ...reference, name: 'fabric', ports: [], mdevs: [], cpu },
    hardware: fabric,
    command: ['node', '--import', 'tsx', 'test/p2p/agree.ts', pairs, host],
    parameters,
    shared,
    timeout: 600,
  });
  if (status !== 0) throw new Error(`the library and the kernel do not agree (CPU family ${String(cpu.family)})`);
  return JSON.parse(readFileSync(pairs, 'utf8')) as Pair[];
}

function tell(title: string, pairs: readonly Pair[]): void {
  console.log(`\n${title}:`);
  for (const { names, verdict, distance, judge } of pairs) {
    const [from, to] = names;
    console.log(`  ${from.padEnd(14)} ${to.padEnd(14)} ${String(distance).padStart(2)} ${verdict.padEnd(12)} ${judge}`);
  }
}

async function checkImporters(image: string): Promise<void> {
  for (const { family } of [amd.old, amd.zen]) {
    const imports = await importOn(image, family, shared);
    console.log(`\nImports by virtio-gpu, CPU family ${String(family)}:`);
    for (const { exporter, verdict, result } of imports) {
      console.log(`  from ${exporter}: ${verdict.padEnd(12)} ${result === 0 ? 'imported' : `errno ${String(result)}`}`);
    }
    const [isolated, sibling] = imports.map(({ verdict }) => verdict);
    const wanted = family === amd.old.family ? 'unsupported' : 'host-bridge';
    if (isolated !== wanted || sibling !== 'direct')
      throw new Error(`verdicts ${String(isolated)}, ${String(sibling)}`);
  }
}

/** The host that was booted last, as the library sees it. */
function lastHost(name: string): PciTopology {
  const host = JSON.parse(readFileSync(join(shared, 'host.json'), 'utf8')) as RecordedHost;
  return PciTopology.read({ sysfs: writeRecorded(join(shared, name), host) });
}

/** Returns each predicted group that the kernel did not make. */
function wrongGroups(predicted: readonly FutureGroup[], { functions }: PciTopology): string[] {
  return predicted.flatMap((group) => {
    const wanted = group.functions.map(({ address }) => address).sort();
    const number = functions.get(wanted[0] ?? '')?.iommuGroup;
    const made = [...functions.values()]
      .filter(({ iommuGroup }) => iommuGroup === number)
      .map(({ address }) => address);
    return made.sort().join() === wanted.join() ? [] : [`${made.join(', ')} instead of ${wanted.join(', ')}`];
  });
}

const between = (pairs: readonly Pair[], a: string, b: string) =>
  pairs.filter(({ names }) => names.includes(a) && names.includes(b));

async function main(): Promise<number> {
  if (values['importer-kernel'] !== undefined) await checkImporters(values['importer-kernel']);
  const plain = await boot(amd.old);
  tell('A CPU that the kernel does not trust', plain);
  if (values.record) {
    const host = JSON.parse(readFileSync(join(shared, 'host.json'), 'utf8')) as RecordedHost;
    const verdicts = plain.map(({ from, to, verdict, distance }) => [from, to, verdict, distance]);
    writeFileSync(recorded, `${JSON.stringify({ host, verdicts })}\n`);
  }
  const addressOf = (name: string) => {
    const found = plain.find(({ names }) => names[0] === name);
    if (!found) throw new Error(`there is no ${name}`);
    return found.from;
  };
  const advice = lastHost('plain').advise([addressOf('pair0'), addressOf('pair1')]);
  const advised = advice.kernelParameter;
  if (advised === undefined || !plain.some(({ judge, advice: said }) => judge === 'kernel' && said !== undefined)) {
    throw new Error('no pair has advice');
  }
  const trusted = await boot(amd.zen);
  tell(
    'A CPU that it trusts, where the kernel spoke',
    trusted.filter(({ judge }) => judge === 'kernel'),
  );
  const better = await boot(amd.old, [advised]);
  tell(`With ${advised}`, between(better, 'pair0', 'pair1'));
  const wrong = wrongGroups(advice.groups, lastHost('better'));
  console.log(
    `IOMMU groups: ${wrong.length === 0 ? `${String(advice.groups.length)} as predicted` : wrong.join('; ')}`,
  );

  const verdicts = (pairs: readonly Pair[]) =>
    between(pairs, 'pair0', 'pair1')
      .map(({ verdict }) => verdict)
      .join();
  const seen = [plain, trusted, better].map(verdicts);
  const wanted = ['unsupported,unsupported', 'host-bridge,host-bridge', 'direct,direct'];
  const all = [...plain, ...trusted, ...better];
  const spoken = all.filter(({ judge }) => judge === 'kernel').length;
  console.log(
    `\n${String(all.length)} verdicts agree: ${String(spoken)} with what the kernel did, ` +
      `${String(all.length - spoken)} with what its source says`,
  );
  if (wrong.length > 0) return 1;
  if (seen.join() === wanted.join()) return 0;
  console.log(`two functions of one device: ${seen.join(' / ')} instead of ${wanted.join(' / ')}`);
  return 1;
}

exitWith(main());
