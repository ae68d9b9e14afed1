#!/usr/bin/env node
// The entry point of the command line tool vfio-dmabuf.
import '../addon/runtime'; // first
import { CommanderError } from 'commander';
import '../entry/given';
import { exitCodes } from './exit-codes';
import { handleOutputErrors, paint } from './output';
import { createProgram } from './program';

async function main(): Promise<void> {
  handleOutputErrors();
  try {
    await createProgram().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? exitCodes.done.code : exitCodes.usage.code; // commander has printed the reason
      return;
    }
    const message = (error as Error).message.replace(/^vfio-dmabuf: /, '');
    process.stderr.write(`${paint('red', 'vfio-dmabuf:')} ${message}\n`);
    process.exitCode = exitCodes.failed.code;
  }
}

void main();
