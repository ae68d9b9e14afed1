// The command `vfio-dmabuf run`.
import { existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { native } from '../addon/native';
import { codedError, kernelCall } from '../errors/errors';
import { readMachine } from '../fake/machine-file';
import { makeRunFolder } from '../fake/run-folder';
import { checkProgram, findProgram } from './program-file';

/** The preload library. @throws Error ERR_NOT_SUPPORTED */
function preloadLibrary(): string {
  if (process.arch !== 'x64') {
    throw codedError('ERR_NOT_SUPPORTED', `vfio-dmabuf run exists for x86-64 only, and this is ${process.arch}`);
  }
  const library = native.runLibrary();
  if (library === undefined) throw codedError('ERR_NOT_SUPPORTED', 'vfio-dmabuf run needs the GNU C library (glibc)');
  if (!existsSync(library)) throw codedError('ERR_NOT_SUPPORTED', `the preload library is not built: ${library}`);
  return library;
}

/** @internal The library's path for LD_PRELOAD, in which spaces and colons are separators: a link in the folder has none. */
export function withoutSeparators(library: string, folder: string): string {
  const separators = /[\s:]/;
  if (!separators.test(library)) return library;
  const link = join(folder, 'run.so');
  if (separators.test(link)) {
    throw codedError('ERR_NOT_SUPPORTED', `the path of the temporary folder has a space or a colon: ${folder}`);
  }
  symlinkSync(library, link);
  return link;
}

const list = (strings: readonly string[]): string => strings.map((string) => `${string}\0`).join('');

function run(program: string, args: readonly string[], machineName: string): never {
  const library = preloadLibrary();
  const machine = readMachine(machineName);
  const path = findProgram(program);
  checkProgram(path);
  const { root, environment } = makeRunFolder(machine);
  const preload = [withoutSeparators(library, root), process.env['LD_PRELOAD']].filter((name) => name).join(':');
  const all = { ...process.env, ...environment, LD_PRELOAD: preload };
  return kernelCall({ path }, () =>
    native.runProgram(
      path,
      list([program, ...args]),
      list(Object.entries(all).map(([name, value]) => `${name}=${value}`)),
    ),
  );
}

export function addRun(command: Command): void {
  command
    .command('run')
    .description('run any program on a fake machine: it sees its /dev/vfio, /dev/iommu and PCI devices')
    .argument('<program>', 'a dynamically linked program for x86-64')
    .argument('[args...]', 'its arguments')
    .option('--machine <name|file>', 'the machine: reference, legacy, or a JSON file (docs/run.md)', 'reference')
    .passThroughOptions()
    .addHelpText('after', '\nExample:\n  $ vfio-dmabuf run -- lspci -nn\n')
    .action((program: string, args: string[], { machine }: { machine: string }) => run(program, args, machine));
}
