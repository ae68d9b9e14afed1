// The commands `vfio-dmabuf bind` and `vfio-dmabuf unbind`.
import { dirname } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import {
  bindToVfioAsync,
  planUnbind,
  previewBind,
  unbindFromVfioAsync,
  type BindingOptions,
  type BindingPlan,
} from '../pci/binding';
import { rootOption, sysfsOf } from './host';
import { json, paint, print } from './output';

interface Options {
  dryRun?: boolean;
  force?: boolean;
  json?: boolean;
  root?: string;
  timeout: number;
  driver?: string;
  persist?: boolean;
}

/** Parses seconds to milliseconds. */
function toMilliseconds(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 0 && seconds <= 86_400)) throw new InvalidArgumentError('seconds, 0 to 86400');
  return Math.round(seconds * 1000);
}

/** Quotes a word for a shell. */
const quote = (word: string) => (/^[\w./:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

function commands({ steps }: BindingPlan): string[] {
  return steps.flatMap(({ file, value, details }) => {
    if (value === undefined) return [`rm ${quote(file)}`];
    if (details !== undefined)
      return [`mkdir -p ${quote(dirname(file))}`, `printf %s ${quote(value + details)} > ${quote(file)}`];
    return [`echo ${value.trim() === '' ? '' : `${quote(value)} `}> ${quote(file)}`];
  });
}

function tell(plan: BindingPlan, dryRun: boolean): void {
  const { address, from, to, steps, objections } = plan;
  if (steps.length === 0) print(`${address}: nothing to do, it has ${from ?? 'no driver'}`);
  else print(`${address}: ${from ?? 'no driver'} -> ${to ?? "the kernel's choice"}${dryRun ? ', would do:' : ''}`);
  if (dryRun) for (const command of commands(plan)) print(`  ${command}`);
  for (const objection of objections) print(paint('yellow', `  ${dryRun ? 'but' : 'although'} ${objection}`));
}

function add(
  program: Command,
  name: string,
  what: string,
  plan: (address: string, options: BindingOptions) => BindingPlan,
  carryOut: (address: string, options: BindingOptions) => Promise<BindingPlan>,
): Command {
  return program
    .command(name)
    .description(what)
    .argument('<address...>', 'PCI addresses, such as 0000:03:00.0 or 03:00.0')
    .option('-n, --dry-run', 'only tell the commands; also while the VFIO driver is not loaded')
    .option('-f, --force', 'also where it hurts')
    .option('--timeout <seconds>', 'how long to wait for the kernel', toMilliseconds, 30_000)
    .option('--json', 'what was done as JSON: [{ address, from, to, steps: [{ file, value, details }], objections }]')
    .addOption(rootOption())
    .action(async (addresses: string[], options: Options) => {
      const { dryRun = false, force = false, timeout, driver, persist = false } = options;
      const given: BindingOptions = {
        ...{ sysfs: sysfsOf(options.root), force, timeout, together: addresses },
        ...(driver !== undefined && { driver }),
        ...(persist && { persist }),
      };
      const plans: BindingPlan[] = [];
      for (const address of addresses) {
        const done = dryRun ? plan(address, given) : await carryOut(address, given);
        if (!options.json) tell(done, dryRun);
        plans.push(done);
      }
      if (options.json) print(json(plans));
    });
}

const refuses = `
Refuses, with 1, a device that is in use: a disk that is mounted, claimed or open, a network interface that is up, the boot
display, bridges, virtual functions, and whatever a process has open; and a device that VFIO cannot use. It names the
processes. --force does it all the same. Waits for the kernel for a bounded time.
`;

export function addBind(program: Command): void {
  add(program, 'bind', 'give devices to VFIO; their old drivers are remembered', previewBind, bindToVfioAsync)
    .option('--driver <name>', 'the VFIO driver; default: the one that fits the device best, mostly vfio-pci')
    .option('--persist', 'after each restart, too: writes a udev rule, which unbind removes')
    .addHelpText(
      'after',
      `${refuses}
All devices of an IOMMU group belong together: bind them in one command.

Examples:
  $ sudo vfio-dmabuf bind 03:00.0 04:00.0 --dry-run
  $ sudo vfio-dmabuf bind 03:00.0 --persist
`,
    );
  add(program, 'unbind', 'give devices back to the drivers they had', planUnbind, unbindFromVfioAsync).addHelpText(
    'after',
    `${refuses}
Completes what an interrupted bind or unbind began, and undoes --persist.

Example:
  $ sudo vfio-dmabuf unbind 03:00.0 04:00.0 --dry-run
`,
  );
}
