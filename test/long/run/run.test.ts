// `vfio-dmabuf run`: programs in C++ on a fake machine.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { withoutSeparators } from '../../../lib/cli/run';
import { afterwards, temporaryFolder } from '../../cleanup';
import { itNeeds } from '../../needs';
import { canRun, compile, output, run, x86 } from './programs';

describe('vfio-dmabuf run: a program', function () {
  this.timeout(120_000);

  itNeeds(canRun, 'accesses registers with every kind of instruction', () => {
    assert.equal(output(compile('registers')), 'done\n');
  });
  itNeeds(canRun, 'lets a device reach memory of every kind', () => {
    const kinds = output(compile('dma')).trim().split('\n');
    assert.deepEqual(kinds.slice(0, 6), ['shared', 'private', 'heap', 'data', 'stack', 'file, private']);
  });
  itNeeds(canRun, 'finds the machine by every call that takes a path', () => {
    assert.equal(output(compile('paths')), 'done\n');
  });
  itNeeds(canRun, 'duplicates, sends, closes and waits for open files', () => {
    assert.equal(output(compile('files')), 'done\n');
  });
  itNeeds(canRun, 'maps registers at fixed addresses, and replaces parts of mappings', () => {
    assert.equal(output(compile('mappings')), 'done\n');
  });
  itNeeds(canRun, 'forks, starts programs, and uses threads', () => {
    assert.equal(output(compile('processes')), 'done\n');
  });
  itNeeds(canRun, 'handles its own SIGSEGV', () => {
    const program = compile('signals');
    for (const how of ['before', 'after', 'string']) assert.equal(output(program, how), 'done\n');
    for (const how of ['none', 'sent']) {
      const { signal, stderr } = run(['--', program, how]);
      assert.equal(signal, 'SIGSEGV', stderr);
      assert.equal(stderr, '');
    }
  });
  itNeeds(canRun, 'with an instruction that is not known ends with a message that shows its bytes', () => {
    const { signal, stderr } = run(['--', compile('signals'), 'unknown']);
    assert.equal(signal, 'SIGSEGV');
    assert.match(
      stderr,
      /^vfio-dmabuf run: the instruction at 0x\w+ accesses registers .* bytes are db 28( \w\w){13}$/m,
    );
  });
  itNeeds(canRun, 'leaves no folder behind', () => {
    const env = { ...process.env, TMPDIR: temporaryFolder() };
    const { status, stdout } = run(['--', 'sh', '-c', 'ls /sys/bus/pci/devices; exit 5'], { env });
    assert.equal(status, 5);
    assert.match(stdout, /^0000:03:00\.0$/m);
    run(['--', compile('signals'), 'none'], { env }); // killed: the next one removes what it left
    run(['--', compile('mappings')], { env });
    assert.deepEqual(
      readdirSync(env.TMPDIR).filter((name) => name.startsWith('vfio-dmabuf-fake-')),
      [],
    );
  });
});

describe('vfio-dmabuf run: the command', function () {
  this.timeout(60_000);

  itNeeds(canRun, 'passes arguments, input, environment and the exit status on', () => {
    const script = 'read line; echo "$line $1 $WORD"; echo error >&2; exit 3';
    const env = { ...process.env, WORD: 'three' };
    const ran = run(['--', 'sh', '-c', script, 'sh', '--machine'], { env, input: 'one\n' });
    assert.deepEqual([ran.status, ran.stdout, ran.stderr], [3, 'one --machine three\n', 'error\n']);
  });
  itNeeds(canRun, 'gives the program its own process: a signal ends it as without the command', () => {
    assert.equal(run(['--', 'sh', '-c', 'kill -TERM $$']).signal, 'SIGTERM');
    assert.equal(run(['--', 'sh', '-c', 'kill -PIPE $$']).signal, 'SIGPIPE');
  });

  it('says that it exists for x86-64 only', () => {
    const arch = join(temporaryFolder(), 'arch.cjs');
    writeFileSync(arch, "Object.defineProperty(process, 'arch', { value: 'arm64' });");
    const { status, stderr } = run(['--', 'true'], { env: { ...process.env, NODE_OPTIONS: `--require "${arch}"` } });
    assert.equal(status, 1);
    assert.equal(stderr, 'vfio-dmabuf: vfio-dmabuf run exists for x86-64 only, and this is arm64\n');
  });

  it('preloads the library by a link if its path has a space or a colon', () => {
    const folder = mkdtempSync('/tmp/run-');
    afterwards(() => rmSync(folder, { recursive: true }));
    assert.equal(withoutSeparators('/lib/library.so', folder), '/lib/library.so');
    for (const name of ['a folder', 'a:folder']) {
      const inside = join(folder, name);
      mkdirSync(inside);
      const link = withoutSeparators(join(inside, 'library.so'), folder);
      assert.equal(readlinkSync(link), join(inside, 'library.so'));
      assert.doesNotMatch(link, /[\s:]/);
      assert.throws(() => withoutSeparators('/lib/a library.so', inside), { code: 'ERR_NOT_SUPPORTED' });
      rmSync(link);
    }
  });

  const machineFile = (text: string): string => {
    const file = join(temporaryFolder(), 'machine.json');
    writeFileSync(file, text);
    return file;
  };
  const ports = '"ports": [{ "role": "engine", "kind": "edu" }]';

  itNeeds(canRun, 'takes a machine by name or from a file', () => {
    assert.match(run(['--machine', 'legacy', '--', 'ls', '/dev/iommu']).stderr, /\/dev\/iommu/);
    const file = machineFile(`{ ${ports}, "iommu": { "lastIova": "0xffffffffffff" } }`);
    const { stdout, stderr } = run(['--machine', file, '--', 'ls', '/sys/bus/pci/devices', '/dev/vfio']);
    assert.equal(stderr, '');
    assert.match(stdout, /^0000:01:00\.0$/m);
    assert.doesNotMatch(stdout, /0000:02/);
  });
  const refused: Record<string, string> = {
    'not JSON': 'ports',
    'ports must be an array': '{}',
    "an unknown key 'port'": `{ ${ports}, "port": 1 }`,
    'kind must be one of edu, nvme': '{ "ports": [{ "role": "a", "kind": "gpu" }] }',
    "the role 'a' is not unique": '{ "ports": [{ "role": "a", "kind": "edu" }, { "role": "a", "kind": "edu" }] }',
    'iommu.lastIova must be a number': `{ ${ports}, "iommu": { "lastIova": "much" } }`,
  };
  for (const [why, text] of Object.entries(refused)) {
    itNeeds(canRun, `refuses a machine: ${why}`, () => {
      const { status, stderr } = run(['--machine', machineFile(text), '--', 'true']);
      assert.equal(status, 1);
      assert(stderr.includes(why), stderr);
    });
  }
  itNeeds(canRun, 'refuses a machine that is not there, and a program that is not there', () => {
    assert.match(
      run(['--machine', 'nowhere', '--', 'true']).stderr,
      /'nowhere' is neither a machine \(reference, legacy\)/,
    );
    assert.match(run(['--', 'no-such-program']).stderr, /there is no program 'no-such-program'/);
  });
  itNeeds(canRun, 'refuses a static program, and a script that one runs', () => {
    const program = compile('mappings', '-static');
    const { status, stderr } = run(['--', program]);
    assert.equal(status, 1);
    assert.match(stderr, /mappings cannot see the fake machine: it is statically linked/);
    const script = join(temporaryFolder(), 'script');
    writeFileSync(script, `#!${program}\n`, { mode: 0o755 });
    assert.match(run(['--', script]).stderr, /it is statically linked/);
  });

  /** Writes a 64-bit ELF file with these program headers: type and content. */
  const elf = (machine: number, parts: readonly [type: number, content: string][]): string => {
    const header = Buffer.alloc(64);
    header.write('\x7fELF\x02\x01\x01', 'latin1');
    header.writeUInt16LE(machine, 18);
    header.writeBigUInt64LE(64n, 32);
    header.writeUInt16LE(56, 54);
    header.writeUInt16LE(parts.length, 56);
    const bytes = [header];
    let offset = 64 + 56 * parts.length;
    for (const [type, content] of parts) {
      const entry = Buffer.alloc(56);
      entry.writeUInt32LE(type, 0);
      entry.writeBigUInt64LE(BigInt(offset), 8);
      entry.writeBigUInt64LE(BigInt(content.length), 32);
      bytes.push(entry);
      offset += content.length;
    }
    const file = join(temporaryFolder(), 'program');
    const contents = parts.map(([, content]) => Buffer.from(content, 'latin1'));
    writeFileSync(file, Buffer.concat([...bytes, ...contents]), { mode: 0o755 });
    return file;
  };
  const loader: [number, string] = [3, '/lib64/ld-linux-x86-64.so.2\0'];
  const programs: Record<string, () => string> = {
    'it is written in Go': () => elf(62, [loader, [4, '\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0abc']]),
    'it is not a program for x86-64': () => elf(183, [[3, '/lib/ld-linux-aarch64.so.1\0']]),
    'it uses another C library \\(/lib/ld-other': () => elf(62, [[3, '/lib/ld-other-x86_64.so.1\0']]),
  };
  for (const [why, make] of Object.entries(programs)) {
    itNeeds([x86], `refuses a program: ${why.replace(/ \\.*/, '')}`, () => {
      const { status, stderr } = run(['--', make()]);
      assert.equal(status, 1);
      assert.match(stderr, new RegExp(`cannot see the fake machine: ${why}`));
    });
  }
});
