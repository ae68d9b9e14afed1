// What any command line tool should do: closed pipes, --version, standard output as a file, exit codes, and everything
// that is made from the table of commands: completion, the manual page, the JSON schema.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Ajv2020 } from 'ajv/dist/2020';
import { examineHost, FdChannel } from '../../../lib';
import { FakeKernel, legacy } from '../../../lib/fake';
import { exitCodes } from '../../../lib/cli/exit-codes';
import { manualPage } from '../../../lib/cli/man';
import { createProgram } from '../../../lib/cli/program';
import { afterwards, start, temporaryFolder } from '../../cleanup';
import { bash, itNeeds } from '../../needs';
import { typescript } from '../../typescript';

const checkout = resolve(__dirname, '../../..');
const main = join(checkout, 'lib/cli/main.ts');
const node = [...typescript, main];
const env = { ...process.env, VFIO_DMABUF_KERNEL: 'fake' };
const read = (...path: string[]) => readFileSync(join(checkout, ...path), 'utf8');

const program = createProgram();
const commands = program.commands;
const names = commands.map((command) => command.name());

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [...node, ...args], { cwd: checkout, encoding: 'utf8', env });
}

/** Runs a command in this process, which is faster, and returns what it writes to standard output. */
async function outputOf(...args: string[]): Promise<string> {
  const { exitCode } = process;
  let output = '';
  process.stdout.write = (text: string | Uint8Array) => {
    output += String(text);
    return true;
  };
  try {
    await createProgram().parseAsync([process.execPath, 'vfio-dmabuf', ...args]);
  } finally {
    Reflect.deleteProperty(process.stdout, 'write'); // the prototype's shows again
    process.exitCode = exitCode;
  }
  return output;
}

describe('the manners of vfio-dmabuf', function () {
  this.timeout(60_000);

  describe('a reader that has enough', () => {
    const lines: [args: string[], status: number][] = [
      [['--help'], 0],
      [['topology', '--matrix'], 0],
      [['doctor'], 0],
      [['nothing'], 2],
    ];
    for (const [args, status] of lines) {
      it(`ends ${args.join(' ')} quietly, with ${String(status)}`, async () => {
        const child = spawn(process.execPath, [...node, ...args], { cwd: checkout, env, stdio: 'pipe' });
        // Closed before the first write: each write fails with EPIPE.
        child.stdout.destroy();
        let told = '';
        if (status === 2) child.stderr.destroy();
        else child.stderr.on('data', (text) => (told += String(text)));
        assert.deepEqual(await once(child, 'close'), [status, null], told);
        assert.equal(told, '');
      });
    }
  });

  it('a full disk is an error', function () {
    if (!existsSync('/dev/full')) this.skip();
    const line = `exec "$0" "$@" > /dev/full`;
    const { status, stderr } = spawnSync('sh', ['-c', line, process.execPath, ...node, 'devices'], {
      cwd: checkout,
      encoding: 'utf8',
      env,
    });
    assert.equal(status, 1);
    assert.equal(stderr, 'vfio-dmabuf: cannot write the output: ENOSPC: no space left on device, write\n');
  });

  it('--version tells the version of the package', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    const { status, stdout } = run('--version');
    assert.deepEqual([status, stdout], [0, `${version}\n`]);
  });

  it('- is standard output, and ./- is a file', () => {
    const folder = temporaryFolder();
    const told = run('topology', '--svg', '-');
    assert.match(told.stdout, /^<svg [^]*<\/svg>\n?$/);
    assert.equal(run('topology', '--svg', join(folder, '-')).status, 0);
    assert.equal(readFileSync(join(folder, '-'), 'utf8'), told.stdout);
    assert.ok(!existsSync(join(checkout, '-')));
  });

  it('dry runs work while vfio-pci is not loaded, and tell how to load it', () => {
    const root = temporaryFolder();
    using kernel = new FakeKernel();
    const sysfs = join(root, 'sys');
    cpSync(kernel.sysfs, sysfs, { recursive: true, verbatimSymlinks: true });
    rmSync(join(sysfs, 'bus/pci/drivers/vfio-pci'), { recursive: true });
    const device = join(sysfs, 'bus/pci/devices/0000:01:00.0');
    rmSync(join(device, 'driver'));
    rmSync(join(device, 'vfio-dev'), { recursive: true });
    mkdirSync(join(sysfs, 'bus/pci/drivers/nvme'));
    symlinkSync('../../../../bus/pci/drivers/nvme', join(device, 'driver'));
    const told = run('bind', '01:00.0', '--dry-run', '--root', root);
    assert.equal(told.status, 0, told.stderr);
    assert.match(told.stdout, /nvme -> vfio-pci, would do:/);
    assert.match(told.stdout, /echo vfio-pci > .*driver_override/);
    assert.match(told.stdout, /but the driver vfio-pci is not loaded; as root: modprobe vfio-pci/);
    const refused = run('bind', '01:00.0', '--root', root);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /modprobe vfio-pci/);
    assert.ok(!existsSync(join(device, 'driver_override')));
    assert.equal(run('unbind', '01:00.0', '--dry-run', '--root', root).status, 0);
  });

  it('the exit codes are in --help, in the manual page and in the README', () => {
    for (const text of [run('--help').stdout, read('README.md').replaceAll(/\s+/g, ' ')]) {
      for (const { code, meaning } of Object.values(exitCodes)) {
        assert.ok(text.includes(meaning), `${String(code)} ${meaning}`);
      }
    }
    const page = manualPage(program);
    for (const { code } of Object.values(exitCodes)) assert.ok(page.includes(`\\fB${String(code)}\\fR`));
    assert.deepEqual(
      [run('devices').status, run('bind', '77:00.0').status, run('topology', '--svg', '-', '--json').status],
      [exitCodes.done.code, exitCodes.failed.code, exitCodes.usage.code],
    );
  });

  describe('the manual page', () => {
    it('is made from the table of commands, and the packed one is the same', async () => {
      const page = await outputOf('man');
      assert.equal(read('man/vfio-dmabuf.1'), page, 'npm run man');
      for (const command of commands) {
        assert.ok(page.includes(`\n.SS ${command.name()}\n`), command.name());
        for (const { long } of command.options) {
          assert.ok(page.includes(long?.replaceAll('-', '\\-') ?? ''), long ?? '');
        }
      }
    });

    it('is ASCII, and no line of text is taken for a request', () => {
      const page = manualPage(program);
      assert.doesNotMatch(page, /[^\n\x20-\x7e]/);
      const requests = ['TH', 'SH', 'SS', 'TP', 'PP', 'nf', 'fi'];
      for (const line of page.split('\n')) {
        if (/^[.']/.test(line)) assert.ok(requests.includes(/^\.(\w+)/.exec(line)?.[1] ?? ''), line);
      }
    });
  });

  describe('completion', () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      it(`${shell} knows every command and option`, async () => {
        const script = await outputOf('completion', shell);
        for (const command of commands) {
          assert.ok(script.includes(command.name()), command.name());
          for (const { long = '' } of command.options) {
            assert.ok(script.includes(shell === 'fish' ? `-l ${long.slice(2)}` : long), long);
          }
        }
      });
    }

    it('of another shell is an error that lists the known ones', () => {
      const { status, stderr } = run('completion', 'tcsh');
      assert.equal(status, 2);
      assert.match(stderr, /bash, zsh, fish/);
    });

    itNeeds([bash], 'works in bash', async () => {
      const folder = temporaryFolder();
      const script = join(folder, 'completion');
      writeFileSync(script, await outputOf('completion', 'bash'));
      writeFileSync(join(folder, 'a picture.svg'), '');
      mkdirSync(join(folder, 'a folder'));
      const complete = (line: string): string[] => {
        const code = `
          source '${script}'
          COMP_LINE=$1 COMP_POINT=\${#1}
          _vfio_dmabuf 2>/dev/null # compopt works only within a completion
          printf '%s\\n' "\${COMPREPLY[@]}"`;
        const { stdout } = spawnSync('bash', ['--norc', '-c', code, 'bash', line], { cwd: folder, encoding: 'utf8' });
        return stdout.split('\n').filter((word) => word !== '');
      };
      assert.deepEqual(
        complete('vfio-dmabuf ').filter((word) => !word.startsWith('-')),
        names,
      );
      assert.deepEqual(complete('vfio-dmabuf topo'), ['topology']);
      assert.deepEqual(complete('vfio-dmabuf --v'), ['--version']);
      assert.deepEqual(complete('vfio-dmabuf topology --m'), ['--matrix']);
      assert.deepEqual(complete('vfio-dmabuf bind 03:00.0 --d'), ['--dry-run', '--driver']);
      assert.deepEqual(complete('vfio-dmabuf completion '), ['bash', 'zsh', 'fish', '-h', '--help']);
      assert.deepEqual(complete('vfio-dmabuf export 03:00.0 --region '), []);
      assert.deepEqual(complete('vfio-dmabuf nothing --'), ['--version', '--help']);
      const files = complete('vfio-dmabuf topology --svg a');
      assert.ok(files.join(' ').includes('a picture.svg'.split(' ')[0] ?? ''), files.join(' '));
      const devices = '/sys/bus/pci/devices';
      const [first] = existsSync(devices) ? readdirSync(devices).filter((name) => name.startsWith('0000:')) : [];
      if (first !== undefined) {
        // The part after the last colon, as bash replaces only that.
        assert.ok(complete(`vfio-dmabuf bind ${first.slice(0, -1)}`).includes(first.split(':')[2] ?? ''), first);
        assert.ok(complete(`vfio-dmabuf bind ${first.slice(5, 8)}`).includes(first.split(':')[2] ?? ''), first);
      }
    });
  });

  describe('the JSON schema', () => {
    const schema = JSON.parse(read('docs/command-line.schema.json')) as { $id: string; $defs: Record<string, unknown> };
    const ajv = new Ajv2020({ strict: true, allErrors: true });
    ajv.addSchema(schema);
    const check = (name: string, value: unknown): void => {
      const validate = ajv.getSchema(`${schema.$id}#/$defs/${name}`);
      assert.ok(validate, `docs/command-line.schema.json has no ${name}`);
      assert.ok(validate(value), `${name}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value)}`);
      // A property that the schema does not name is refused.
      const inner = Array.isArray(value) ? (value as object[])[0] : (value as object);
      const more = { ...inner, nonsense: 1 };
      assert.ok(inner === undefined || !validate(Array.isArray(value) ? [more] : more), `${name} takes anything`);
    };
    const lines: Readonly<Record<string, string[][]>> = {
      doctor: [['doctor']],
      devices: [['devices'], ['devices', '--all']],
      topologyOfTwo: [
        ['topology', '01:00.0', '02:00.0'],
        ['topology', '01:00.0', '00:01.0'],
      ],
      topologyMatrix: [['topology', '--matrix']],
      topologyAdvice: [['topology', '--advise', '01:00.0', '02:00.0']],
      topologyTree: [['topology']],
      topology: [['topology']],
      bind: [['bind', '01:00.0', '02:00.0', '--dry-run']],
      unbind: [['unbind', '01:00.0', '--dry-run']],
      export: [
        ['export', '01:00.0', '--region', '2'],
        ['export', '01:00.0', '--region', '2', '--range', '0:4k', '--range', '64k:4k'],
      ],
    };

    for (const [name, all] of Object.entries(lines)) {
      it(`holds for ${name}`, async () => {
        for (const args of all) check(name, JSON.parse(await outputOf(...args, '--json')));
      });
    }

    it('holds for doctor where much is missing', () => {
      using kernel = new FakeKernel(legacy);
      check('doctor', JSON.parse(JSON.stringify(examineHost({ kernel }))));
    });

    it('holds for each line of share', async () => {
      const socket = join(temporaryFolder(), 'socket');
      const args = ['share', '01:00.0', '--region', '2', '--socket', socket, '--json'];
      const server = start(process.execPath, [...node, ...args], { env: { VFIO_DMABUF_KERNEL: 'fake' } });
      const output = createInterface(server.stdout)[Symbol.asyncIterator]();
      const next = async () => JSON.parse(String((await output.next()).value)) as { event: string };
      const exit = once(server, 'exit');
      const events = [await next()];
      const channel = FdChannel.connect(socket);
      afterwards(() => {
        channel.close();
      });
      events.push(await next());
      channel.close();
      events.push(await next());
      assert.deepEqual(
        events.map(({ event }) => event),
        ['listening', 'connected', 'gone'],
      );
      for (const event of events) check('share', event);
      server.kill('SIGTERM');
      assert.deepEqual(await exit, [0, null]);
    });

    it('has every command that has --json', () => {
      for (const command of commands) {
        const has = command.options.some(({ long }) => long === '--json');
        assert.equal(Object.hasOwn(schema.$defs, command.name()), has, command.name());
      }
    });
  });
});
