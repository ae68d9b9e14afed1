#!/usr/bin/env node
// vfio-dmabuf: the command line.
import { Command, CommanderError } from 'commander';
import '../entry/given';
import { addBind } from './bind';
import { addDevices } from './devices';
import { addDoctor } from './doctor';
import { addExport } from './export';
import { paint } from './output';
import { addShare } from './share';
import { addTopology } from './topology';

/** Exit codes: 0 done, 1 it cannot be done (errors of the system, refusals), 2 the command line is wrong. */
async function main(): Promise<void> {
  const program = new Command('vfio-dmabuf')
    .description('PCI peer-to-peer memory through VFIO, IOMMUFD and dma-buf')
    .showHelpAfterError('(vfio-dmabuf --help tells how)')
    .exitOverride()
    .addHelpText(
      'after',
      '\nVFIO_DMABUF_KERNEL=fake (or fake:MACHINE) tries everything on a kernel that needs no hardware.\n',
    );
  for (const add of [addDoctor, addDevices, addTopology, addBind, addExport, addShare]) add(program);
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2; // it has told why
      return;
    }
    const { message } = error as Error;
    process.stderr.write(`${paint('red', 'vfio-dmabuf:')} ${message}\n`);
    process.exitCode = 1;
  }
}

void main();
