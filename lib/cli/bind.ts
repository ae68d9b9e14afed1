// The commands `vfio-dmabuf bind` and `vfio-dmabuf unbind`.
import type { Command } from 'commander';
import {
  bindToVfio,
  planUnbind,
  previewBind,
  unbindFromVfio,
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
}

/** Quotes a word for a shell. */
const quote = (word: string) => (/^[\w./:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

function commands({ steps }: BindingPlan): string[] {
  return steps.map(({ file, value }) =>
    value === undefined ? `rm ${quote(file)}` : `echo ${value.trim() === '' ? '' : `${quote(value)} `}> ${quote(file)}`,
  );
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
  carryOut: (address: string, options: BindingOptions) => BindingPlan,
): void {
  program
    .command(name)
    .description(what)
    .argument('<address...>', 'PCI addresses, such as 0000:03:00.0 or 03:00.0')
    .option('-n, --dry-run', 'only tell the commands; also while vfio-pci is not loaded')
    .option('-f, --force', 'also where it hurts')
    .option('--json', 'what was done as JSON: [{ address, from, to, steps: [{ file, value }], objections }]')
    .addOption(rootOption())
    .addHelpText(
      'after',
      `\nRefuses, with 1, a disk that is in use, a network interface that is up, the boot display and bridges.\n\nExample:\n  $ sudo vfio-dmabuf ${name} 03:00.0 04:00.0 --dry-run\n`,
    )
    .action((addresses: string[], { dryRun = false, force = false, ...options }: Options) => {
      const call = dryRun ? plan : carryOut;
      const plans = addresses.map((address) => {
        const done = call(address, { sysfs: sysfsOf(options.root), force });
        if (!options.json) tell(done, dryRun);
        return done;
      });
      if (options.json) print(json(plans));
    });
}

export function addBind(program: Command): void {
  add(program, 'bind', 'give devices to vfio-pci; their old drivers are remembered', previewBind, bindToVfio);
  add(program, 'unbind', 'give devices back to the drivers they had', planUnbind, unbindFromVfio);
}
