// npm run test:doctor [-- --old-kernel IMAGE] [--only TITLE]: runs `vfio-dmabuf doctor` on real kernels, in common situations. In
// each, the first bad finding must be the expected one.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { reference } from '../lib/fake';
import type { HostReport } from '../lib';
import { exitWith } from './exit';
import { firmwareRegion } from './vm/firmware-region';
import { runInVm, type VmOptions } from './vm/vm';

const { values } = parseArgs({ options: { 'old-kernel': { type: 'string' }, only: { type: 'string' } } });
const shared = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-doctor-'));
process.once('exit', () => {
  rmSync(shared, { recursive: true, force: true });
});

/** A host and its misconfiguration. */
interface Situation {
  title: string;
  host: Partial<VmOptions>;
  user?: 'nobody';
  /** Whether the firmware has a reserved region for the device 03:00.0. */
  region?: true;
  /** Shell commands to run before and after. If one fails, the test fails. */
  before?: string;
  after?: string;
  /** The first bad finding; undefined: there is none. */
  wrong?: string;
  fix?: string[];
  says: RegExp;
}

/** The compiled command, as users run it: an emulated processor takes half a minute to compile the TypeScript. */
const cli = 'node dist/cli/main.js';

const situations: Situation[] = [
  { title: 'a host that can do it', host: {}, says: /exports its memory/ },
  {
    ...{ title: 'a user without rights', host: {}, user: 'nobody', wrong: 'iommufd' },
    fix: [
      `echo 'SUBSYSTEM=="misc", KERNEL=="iommu", GROUP="nogroup", MODE="0660"' > /etc/udev/rules.d/70-iommu.rules`,
      'udevadm control --reload',
      'udevadm trigger /dev/iommu',
    ],
    says: /root:root with mode 0660, and this process is user nobody/,
  },
  {
    ...{ title: 'the IOMMU is off', host: { iommu: false }, wrong: 'iommu' },
    fix: ["sed -i 's/\\bintel_iommu=off\\b/intel_iommu=on/' /etc/default/grub", 'update-grub', 'reboot'],
    says: /started with intel_iommu=off/,
  },
  {
    ...{ title: 'no device is VFIO’s', host: { vfio: [] }, wrong: 'devices' },
    fix: ['npx vfio-dmabuf devices', 'npx vfio-dmabuf bind ADDRESS'],
    says: /no PCI device is bound to vfio-pci/,
  },
  {
    ...{ title: 'the same, when its advice was followed', host: { vfio: [] } },
    before: `${cli} bind 01:00.0 02:00.0`,
    after: `${cli} unbind 01:00.0 02:00.0 && readlink /sys/bus/pci/devices/0000:01:00.0/driver | grep nvme`,
    says: /exports its memory/,
  },
  {
    ...{ title: 'a device that the firmware keeps', host: {}, region: true, wrong: 'device 0000:03:00.0' },
    // A bind objects beforehand; the device is bound here all the same.
    before:
      `${cli} unbind 03:00.0 && { ${cli} bind 03:00.0 2>&1 | tee /dev/stderr | grep -q "firmware reserves memory"; } && ` +
      `${cli} bind 03:00.0 --force`,
    says: /cannot be opened \(EINVAL\): the firmware reserves memory .*0x7ffd0000-0x7ffdffff/,
  },
  ...(values['old-kernel'] === undefined
    ? []
    : [
        {
          title: 'a kernel that is too old',
          // Only one device: this kernel takes minutes to open and close all of them.
          host: { image: values['old-kernel'], vfio: ['ssd'] },
          wrong: 'kernel',
          says: /too old: dma-bufs of VFIO are mapped from Linux 6\.19 on/,
        },
      ]),
];

const asNobody = 'setpriv --reuid=nobody --regid=nogroup --clear-groups';

async function examine({
  host,
  user,
  region,
  before = 'true',
  after = 'true',
}: Situation): Promise<{ report: HostReport; status: number }> {
  const file = join(shared, 'report.json');
  const run = `${user === undefined ? '' : asNobody} ${cli} doctor`;
  const hardware = region ? await firmwareRegion({ machine: reference }, shared, { port: 3, device: 0 }) : [];
  const status = await runInVm({
    machine: reference,
    hardware,
    command: [
      'bash',
      '-c',
      `${before} && { ${run}; ${run} --json >${file}; status=$?; ${after} && exit $status; }; exit 9`,
    ],
    shared,
    timeout: 600,
    ...host,
  });
  return { report: JSON.parse(readFileSync(file, 'utf8')) as HostReport, status };
}

async function main(): Promise<number> {
  execFileSync('npm', ['run', '--silent', 'build:ts'], { stdio: 'inherit' });
  let failed = 0;
  const chosen = situations.filter(({ title }) => title.includes(values.only ?? ''));
  for (const situation of chosen) {
    const { title, wrong, fix = [], says } = situation;
    console.log(`\n=== ${title}`);
    const { report, status } = await examine(situation);
    const first = report.findings.find(({ verdict }) => verdict === 'bad');
    const told = first ?? report.findings.find(({ text }) => says.test(text));
    const right =
      first?.check === wrong &&
      (wrong === undefined || isDeepStrictEqual(first?.fix, fix)) &&
      says.test(told?.text ?? '') &&
      report.healthy === (wrong === undefined) &&
      status === (report.healthy ? 0 : 1);
    if (right) continue;
    failed += 1;
    console.log(`FAILED: ${title}: ${JSON.stringify({ status, healthy: report.healthy, told }, undefined, 2)}`);
  }
  console.log(`\n${String(chosen.length - failed)} situations told right, ${String(failed)} not`);
  return failed === 0 ? 0 : 1;
}

exitWith(main());
