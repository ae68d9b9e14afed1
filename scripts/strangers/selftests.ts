// The kernel's own VFIO and IOMMUFD self-tests, on the fake machine and on a real kernel: what passes there must pass on
// the fake, except for what known.ts explains.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { addressOf, reference } from '../../lib/fake';
import { runInVm } from '../vm/vm';
import { known } from './known';
import { onFake } from './on-fake';
import { failed, passed, skipped, type Row } from './row';

/** The programs, with the roles of the devices that each is run on. */
const programs: readonly [name: string, roles: readonly string[]][] = [
  ['vfio/vfio_pci_device_test', ['engine', 'ssd']],
  ['vfio/vfio_dma_mapping_test', ['engine', 'ssd']],
  ['vfio/vfio_dma_mapping_mmio_test', ['engine', 'ssd']],
  ['vfio/vfio_iommufd_setup_test', ['engine', 'ssd']],
  ['iommu/iommufd', []],
];

type Outcome = 'ok' | 'not ok' | 'skip';

/** The result of each test in the output of a kselftest program (TAP). */
function outcomes(output: string): Map<string, Outcome> {
  const found = new Map<string, Outcome>();
  for (const [, word, name = '', skip] of output.matchAll(/^(ok|not ok) \d+ (\S+)( # SKIP)?/gm)) {
    found.set(name, skip === undefined ? (word as Outcome) : 'skip');
  }
  return found;
}

/** Builds the programs in a folder. Returns the reason for which that failed. */
function build(source: string, folder: string): string | undefined {
  const make = (...args: string[]) => spawnSync('make', ['-s', '-j2', ...args], { encoding: 'utf8' });
  const headers = make('-C', source, 'ARCH=x86_64', `O=${join(folder, 'headers')}`, 'headers');
  if (headers.status !== 0) return headers.stderr.trim().split('\n').at(-1);
  for (const name of ['vfio', 'iommu']) {
    mkdirSync(join(folder, name), { recursive: true });
    const tests = make(
      ...['-C', join(source, 'tools/testing/selftests', name), `OUTPUT=${join(folder, name)}`],
      `KHDR_INCLUDES=-isystem ${join(folder, 'headers/usr/include')}`,
    );
    if (tests.status !== 0) return /.*error: .*/.exec(tests.stderr)?.[0] ?? tests.stderr.slice(-300);
  }
  return undefined;
}

const title = (program: string, role: string) => (role === '' ? program : `${program} on ${role}`);

/** The results on a real kernel, by program and device. */
async function onKernel(folder: string): Promise<Map<string, Map<string, Outcome>>> {
  const shared = join(folder, 'results');
  const commands = programs.flatMap(([program, roles]) =>
    (roles.length > 0 ? roles : ['']).map((role, i) => {
      const address = role === '' ? '' : addressOf(reference, role);
      return `${join(folder, program)} ${address} >${join(shared, program.replace('/', '-'))}-${String(i)} 2>&1`;
    }),
  );
  await runInVm({ machine: reference, command: ['bash', '-c', commands.join('; ')], shared, timeout: 600 });
  return new Map(
    programs.flatMap(([program, roles]) =>
      (roles.length > 0 ? roles : ['']).map((role, i): [string, Map<string, Outcome>] => [
        title(program, role),
        outcomes(readFileSync(`${join(shared, program.replace('/', '-'))}-${String(i)}`, 'utf8').replaceAll('\r', '')),
      ]),
    ),
  );
}

export async function selftestRows(): Promise<Row[]> {
  const name = "the kernel's self-tests";
  const source = process.env['VFIO_DMABUF_KERNEL_SOURCE'];
  if (source === undefined || !existsSync(join(source, 'tools/testing/selftests/vfio'))) {
    return [skipped(name, 'VFIO and IOMMUFD', 'VFIO_DMABUF_KERNEL_SOURCE names no source tree of Linux 6.18 or later')];
  }
  // Not in /tmp: the virtual machine has its own.
  const folder = mkdtempSync('/var/tmp/vfio-dmabuf-selftests-');
  try {
    const reason = build(source, folder);
    if (reason !== undefined) return [skipped(name, 'VFIO and IOMMUFD', `they cannot be built: ${reason}`)];
    const real = await onKernel(folder);
    return programs.flatMap(([program, roles]) =>
      (roles.length > 0 ? roles : ['']).flatMap((role) => {
        const where = title(program, role);
        const address = role === '' ? [] : [addressOf(reference, role)];
        const ours = outcomes(onFake(300, join(folder, program), ...address).output);
        return [...(real.get(where) ?? [])].map(([test, theirs]): Row => {
          const outcome = ours.get(test);
          if (outcome === 'ok') return passed(where, test);
          const explained = known.find(({ tests }) => tests.test(test))?.reason;
          if (theirs !== 'ok') return skipped(where, test, `on Linux, too: ${theirs}`);
          return (explained === undefined ? failed : skipped)(where, test, explained ?? outcome ?? 'no result');
        });
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
