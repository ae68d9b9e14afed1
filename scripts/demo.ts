// npm run demo: examples/demo.ts on the fake kernel; with --vm on a real kernel in the virtual machine; with --device
// and --peer on this machine's own.
import { spawnSync } from 'node:child_process';
import { reference } from '../lib/fake';
import { exitWith } from './exit';
import { runInVm } from './vm/vm';

const program = ['node_modules/.bin/tsx', 'examples/demo.ts'];
const args = process.argv.slice(2);

async function main(): Promise<number> {
  if (args.includes('--vm')) {
    const rest = args.filter((argument) => argument !== '--vm');
    console.error('Booting a real kernel in a virtual machine …');
    const environment = { VFIO_DMABUF_KERNEL: 'system' };
    return runInVm({ machine: reference, command: [...program, ...rest], environment, timeout: 120 });
  }
  const kernel = args.some((argument) => argument.startsWith('--device')) ? 'system' : 'fake';
  const [tsx = '', example = ''] = program;
  const environment = { VFIO_DMABUF_KERNEL: kernel, ...process.env };
  return spawnSync(tsx, [example, ...args], { stdio: 'inherit', env: environment }).status ?? 1;
}

exitWith(main());
