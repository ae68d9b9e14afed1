// The command `vfio-dmabuf doctor`.
import type { Command } from 'commander';
import { examineHost, type Finding, type HostReport } from '../host/doctor';
import { shortAddress } from '../pci/names';
import { rootOption, sysfsOf } from './host';
import { json, paint, print, table, type Style } from './output';

const marks: Record<Finding['verdict'], { mark: string; style: Style | undefined }> = {
  good: { mark: 'ok', style: 'green' },
  bad: { mark: 'BAD', style: 'red' },
  note: { mark: 'note', style: 'yellow' },
  unknown: { mark: '?', style: 'dim' },
};

type Row = Pick<Finding, 'check' | 'verdict' | 'text'>;

/** Combines devices with the same finding into one row. */
function toRows(findings: readonly Finding[]): Row[] {
  const groups = new Map<string, Finding[]>();
  for (const finding of findings) {
    const key = `${finding.verdict} ${finding.text}`;
    groups.set(key, [...(groups.get(key) ?? []), finding]);
  }
  return [...groups.values()].flatMap((group): Row[] => {
    const [first] = group;
    if (!first?.check.startsWith('device ') || group.length === 1) return group;
    const addresses = group.map(({ check }) => shortAddress(check.replace('device ', '')));
    return [{ ...first, check: `${String(group.length)} devices`, text: `${first.text}: ${addresses.join(', ')}` }];
  });
}

function show({ findings, healthy }: HostReport, isCopy: boolean): void {
  const rows = toRows(findings);
  print(
    table(
      ['', 'what', 'found'],
      rows.map(({ check, verdict, text }) => [marks[verdict].mark, check, text]),
      rows.map(({ verdict }) => marks[verdict].style),
    ),
  );
  const first = findings.find(({ verdict }) => verdict === 'bad');
  print('');
  if (healthy) print(paint('green', 'This host can do it: a device exports its memory, and IOMMUFD maps it.'));
  else if (first)
    print(paint('bold', `To do first (${first.check}): ${first.fix.length > 0 ? 'as root' : first.text}`));
  else if (isCopy)
    print(paint('bold', 'Nothing is wrong in these files. Whether devices can be opened is not seen in them.'));
  else print(paint('bold', 'Nothing is wrong, and no device is free to try with.'));
  for (const command of healthy ? [] : (first?.fix ?? [])) print(`  ${command}`);
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('what this host can do, and the one thing to do where it cannot')
    .option('--json', 'findings as JSON: { healthy, findings: [{ check, verdict, text, fix }] }')
    .addOption(rootOption())
    .addHelpText(
      'after',
      '\nExits with 0 when a device can export its memory and IOMMUFD can map it, else with 1. With --root, only files are\n' +
        'examined: 0 when nothing is wrong in them.\n\nExamples:\n' +
        '  $ vfio-dmabuf doctor\n  $ VFIO_DMABUF_KERNEL=fake vfio-dmabuf doctor\n  $ vfio-dmabuf doctor --root host.json\n',
    )
    .action(({ root, ...options }: { json?: boolean; root?: string }) => {
      const isCopy = root !== undefined;
      const report = examineHost(isCopy ? { sysfs: sysfsOf(root) } : {});
      if (options.json) print(json(report));
      else show(report, isCopy);
      const isWrong = report.findings.some(({ verdict }) => verdict === 'bad');
      process.exitCode = (isCopy ? !isWrong : report.healthy) ? 0 : 1;
    });
}
