// The table of commands: commander's own tree. Help, completion and the manual page are made from it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { addBind } from './bind';
import { addCompletion } from './completion';
import { addDevices } from './devices';
import { addDoctor } from './doctor';
import { exitCodeLines } from './exit-codes';
import { addExport } from './export';
import { addMan } from './man';
import { addRecord } from './record';
import { addRun } from './run';
import { addShare } from './share';
import { addTopology } from './topology';

function version(): string {
  const text = readFileSync(join(__dirname, '../../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

export function createProgram(): Command {
  const program = new Command('vfio-dmabuf')
    .description('PCI peer-to-peer memory through VFIO, IOMMUFD and dma-buf')
    .version(version(), '-V, --version', 'print the version')
    .showHelpAfterError('(vfio-dmabuf --help tells how)')
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      'after',
      `
Exit codes:
${exitCodeLines().join('\n')}

VFIO_DMABUF_KERNEL=fake (or fake:MACHINE) tries everything on a kernel that needs no hardware.
`,
    );
  const commands = [
    addDoctor,
    addRecord,
    addDevices,
    addTopology,
    addBind,
    addExport,
    addShare,
    addRun,
    addCompletion,
    addMan,
  ];
  for (const add of commands) add(program);
  return program;
}
