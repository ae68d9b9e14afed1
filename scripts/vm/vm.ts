// Boots a virtual machine on a real kernel and runs one command in it. The guest's root file system is the host's,
// mounted read-only, so Node and the checkout are available. The guest has its own /tmp, and one writable folder is
// shared.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { mdevDriver, mdevUuid, qemuArguments, type Machine } from '../../lib/fake';
import { functionsOf } from '../../lib/fake/machine';
import { compile } from '../compile.cjs';
import { kernelImage } from './kernel-image';

export interface VmOptions {
  machine: Machine;
  /** Further QEMU arguments, for devices that no {@link Machine} has. */
  hardware?: readonly string[];
  /** The command, which runs in the checkout, and its environment variables. */
  command: readonly string[];
  environment?: Readonly<Record<string, string>>;
  /** Environment variables of QEMU itself. */
  qemuEnvironment?: Readonly<Record<string, string>>;
  /** A folder of the host that the guest mounts writable at the same path. */
  shared?: string;
  /** Seconds after which the machine is killed. */
  timeout: number;
  /** The kernel image. Default: VFIO_DMABUF_BZIMAGE, or one that is built. */
  image?: string;
  /** The machine's roles that are bound to vfio-pci; the others keep the kernel's own drivers. Default: all. */
  vfio?: readonly string[];
  /** Whether the kernel enables the IOMMU. Default: true. */
  iommu?: boolean;
  /** Further parameters of the kernel's command line. */
  parameters?: readonly string[];
}

const checkout = resolve(__dirname, '../..');
// Not in /tmp, over which the guest mounts its own file system.
const stages = '/var/tmp';
const exitMark = 'vfio-dmabuf-vm: exit ';

const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;

/** The cache of files that tsx has compiled on the host, by content. Compiling in the guest takes long. */
const compiled = () => join(tmpdir(), `tsx-${String(process.geteuid?.() ?? 0)}`);

/** The init process of the guest: mounts file systems, binds the devices to vfio-pci, runs the command, powers off. */
function initScript(options: VmOptions, stage: string): string {
  const { machine, command, environment = {}, shared, vfio } = options;
  const variables = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', HOME: '/tmp', TERM: 'dumb', ...environment };
  const given = ({ role }: { role: string }) => vfio?.includes(role) ?? true;
  const physical = functionsOf(machine).filter((device) => device.physical === undefined && given(device));
  return [
    '#!/bin/bash',
    ...Object.entries(variables).map(([name, value]) => `export ${name}=${quote(value)}`),
    'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t debugfs debug /sys/kernel/debug',
    // The checkout keeps its path, even if that is below /tmp.
    `mount -t tmpfs run /run; mkdir /run/checkout; mount --bind ${quote(checkout)} /run/checkout`,
    'mount -t tmpfs tmp /tmp; mkdir -p /dev/shm; mount -t tmpfs shm /dev/shm',
    `mkdir -p ${quote(checkout)} && mount --move /run/checkout ${quote(checkout)}`,
    'mkdir -p /run/tsx/upper /run/tsx/work /tmp/tsx-0',
    `mount -t overlay -o lowerdir=${join(stage, 'compiled')},upperdir=/run/tsx/upper,workdir=/run/tsx/work tsx /tmp/tsx-0`,
    ...(shared === undefined
      ? []
      : [
          `mkdir -p ${quote(shared)}; mount -t 9p -o trans=virtio,msize=1048576 shared ${quote(shared)} || echo "cannot mount ${shared}"`,
        ]),
    'give() {',
    '  local device=/sys/bus/pci/devices/$1',
    '  [ -e "$device/driver" ] && echo "$1" >"$device/driver/unbind"',
    '  echo vfio-pci >"$device/driver_override"; echo "$1" >/sys/bus/pci/drivers_probe',
    '}',
    ...physical.map(({ address }) => `give ${address}`),
    ...physical
      .filter(({ virtualFunctions }) => virtualFunctions > 0)
      .map(
        ({ address, virtualFunctions }) =>
          `echo ${String(virtualFunctions)} >/sys/bus/pci/devices/${address}/sriov_numvfs`,
      ),
    ...(machine.mdevs ?? []).map(({ type }, i) => {
      const types = `/sys/class/mdev_bus/${mdevDriver(type)}/mdev_supported_types/${type}`;
      return `[ -e ${types} ] && echo ${mdevUuid(i)} >${types}/create`; // an older kernel may lack the driver
    }),
    'ip link set lo up 2>/dev/null',
    `cd ${quote(checkout)} && { ${command.map(quote).join(' ')}; } </dev/null`,
    `echo "${exitMark}$?"`,
    // A loop without child processes: the file system may be gone.
    'echo o >/proc/sysrq-trigger; while :; do :; done',
    '',
  ].join('\n');
}

function findQemu(): string {
  const qemu = 'qemu-system-x86_64';
  if (spawnSync(qemu, ['--version']).status !== 0) {
    throw new Error(`${qemu} is not installed: on Debian \`apt-get install qemu-system-x86\``);
  }
  return qemu;
}

/** KVM works only if the CPU has virtualization extensions, even if /dev/kvm exists. */
export function accelerator(): 'kvm' | 'tcg' {
  return /\b(?:vmx|svm)\b/.test(readFileSync('/proc/cpuinfo', 'utf8')) ? 'kvm' : 'tcg';
}

// With a thread for each of the guest's CPUs, which is QEMU's default, Node crashes with SIGSEGV in one of eight starts
// (QEMU 7.2, Node 20 with mocha and tsx, without this addon). With one thread for all, it crashed in none of thirty.
const acceleratorOptions = { kvm: 'kvm', tcg: 'tcg,thread=single' };

function qemuCommand(options: VmOptions, stage: string): string[] {
  const shareAs = (path: string, tag: string, more: string) =>
    `local,path=${path},mount_tag=${tag},security_model=none,multidevs=remap${more}`;
  return [
    ...qemuArguments(options.machine),
    ...['-accel', acceleratorOptions[accelerator()], '-smp', '2', '-m', '2G'],
    ...['-nodefaults', '-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot'],
    ...['-virtfs', shareAs('/', 'hostfs', ',readonly=on')],
    ...(options.shared === undefined ? [] : ['-virtfs', shareAs(options.shared, 'shared', '')]),
    // Last: devices after a second host bridge would be attached to it.
    ...(options.hardware ?? []),
    ...['-kernel', options.image ?? kernelImage()],
    '-append',
    // On a busy host the kernel's check of the timer interrupt fails, and the kernel panics; this skips the check.
    [
      'console=ttyS0 panic=-1 loglevel=1 no_timer_check vfio_pci.enable_sriov=1 root=hostfs rootfstype=9p',
      `rootflags=trans=virtio,ro,msize=1048576,cache=loose init=${join(stage, 'init')}`,
      `intel_iommu=${options.iommu === false ? 'off' : 'on'}`,
      ...(options.parameters ?? []),
    ].join(' '),
  ];
}

/** Runs the command and streams its output to stdout. Resolves to its exit code. */
export async function runInVm(options: VmOptions): Promise<number> {
  const qemu = findQemu();
  compile(); // the guest cannot write to the checkout
  const stage = mkdtempSync(join(stages, 'vfio-dmabuf-vm-'));
  try {
    writeFileSync(join(stage, 'init'), initScript(options, stage), { mode: 0o755 });
    mkdirSync(join(stage, 'compiled'));
    if (existsSync(compiled())) {
      cpSync(compiled(), join(stage, 'compiled'), { recursive: true, filter: (path) => !path.endsWith('.pipe') });
    }
    if (options.shared !== undefined) mkdirSync(options.shared, { recursive: true });
    return await boot(qemu, qemuCommand(options, stage), options);
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

function boot(qemu: string, args: string[], { qemuEnvironment, timeout }: VmOptions): Promise<number> {
  return new Promise((done, fail) => {
    const machine = spawn(qemu, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...qemuEnvironment },
    });
    let status: number | undefined;
    let rest = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      machine.kill('SIGKILL');
    }, timeout * 1000);
    machine.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const mark = line.indexOf(exitMark);
        if (mark >= 0) status = Number.parseInt(line.slice(mark + exitMark.length), 10);
        else if (status === undefined) process.stdout.write(`${line}\n`);
      }
    });
    // Tests provoke DMA that the IOMMU refuses; QEMU prints a message for each.
    createInterface(machine.stderr).on('line', (line) => {
      if (!/vtd_|compression of faults/.test(line)) process.stderr.write(`${line}\n`);
    });
    machine.on('error', fail).on('close', (code, signal) => {
      clearTimeout(timer);
      if (status !== undefined) done(status);
      else if (timedOut) fail(new Error(`the virtual machine was given up after ${String(timeout)} s`));
      else {
        const how = signal ?? `status ${String(code)}`;
        fail(new Error(`the virtual machine ended (${how}) before its command did: ${rest}`));
      }
    });
  });
}
