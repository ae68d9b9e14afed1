// Loads node:child_process when a process is started: it takes more time to load than half of this package.
import type ChildProcess from 'node:child_process';

/** @internal */
export function processes(): typeof ChildProcess {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- only when a process is started
  return require('node:child_process') as typeof ChildProcess;
}
