// npm run example NAME: runs one of examples/ on the fake kernel. With --vm it runs on a real kernel in the virtual
// machine; with devices of this machine (--ssd 03:00.0 …) on this machine's kernel. `all` runs each example that needs
// no further arguments.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { reference } from '../lib/fake';
import { exitWith } from './exit';
import { runInVm } from './vm/vm';

const all = ['demo', 'nvme-cmb', 'nvme-doorbell', 'video-memory', 'compose', 'share'];
const args = process.argv.slice(2);
const [name = ''] = args;
const rest = args.slice(1).filter((argument) => argument !== '--vm');
const tsx = 'node_modules/.bin/tsx';

function commands(): string[][] {
  const names = name === 'all' ? all : [name];
  return names.map((each) => {
    const program = `examples/${each}.ts`;
    if (each === '' || !existsSync(join(__dirname, '..', program))) {
      throw new Error(`which example? npm run example NAME, with one of ${['all', ...all].join(', ')}`);
    }
    return [tsx, program, ...rest];
  });
}

async function main(): Promise<number> {
  const programs = commands();
  if (args.includes('--vm')) {
    console.error('Booting a real kernel in a virtual machine …');
    const each = programs.map((words) => `echo "== ${words[1] ?? ''}"; ${words.join(' ')} || exit 1`).join('\n');
    const environment = { VFIO_DMABUF_KERNEL: 'system' };
    return runInVm({ machine: reference, command: ['bash', '-c', each], environment, timeout: 120 * programs.length });
  }
  const env = {
    VFIO_DMABUF_KERNEL: rest.some((argument) => argument.startsWith('--')) ? 'system' : 'fake',
    ...process.env,
  };
  for (const [program = '', ...words] of programs) {
    if (programs.length > 1) console.log(`== ${words[0] ?? ''}`);
    const { status } = spawnSync(program, words, { stdio: 'inherit', env });
    if (status !== 0) return status ?? 1;
  }
  return 0;
}

exitWith(main());
