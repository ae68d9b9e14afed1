#!/usr/bin/env node
// The entry point of the command line tool vfio-dmabuf.
import { Command, CommanderError } from 'commander';
import '../entry/given';
import { addBind } from './bind';
import { addDevices } from './devices';
import { addDoctor } from './doctor';
import { addExport } from './export';
import { paint } from './output';
import { addRun } from './run';
import { addShare } from './share';
import { addTopology } from './topology';

/** Exit codes: 0: done; 1: failed (system errors, refusals); 2: invalid command line. */
async function main(): Promise<void> {
  const program = new Command('vfio-dmabuf')
    .description('PCI peer-to-peer memory through VFIO, IOMMUFD and dma-buf')
    .showHelpAfterError('(vfio-dmabuf --help tells how)')
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText(
      'after',
      '\nVFIO_DMABUF_KERNEL=fake (or fake:MACHINE) tries everything on a kernel that needs no hardware.\n',
    );
  for (const add of [addDoctor, addDevices, addTopology, addBind, addExport, addShare, addRun]) add(program);
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2; // commander has printed the reason
      return;
    }
    const { message } = error as Error;
    process.stderr.write(`${paint('red', 'vfio-dmabuf:')} ${message}\n`);
    process.exitCode = 1;
  }
}

void main();
