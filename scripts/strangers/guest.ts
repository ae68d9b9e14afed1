// QEMU as a VFIO user: a Linux guest whose own nvme driver drives the fake machine's drive.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { addressOf, reference } from '../../lib/fake';
import { kernelImage } from '../vm/kernel-image';
import { onFake } from './on-fake';
import { failed, passed, skipped, type Row } from './row';

const size = 1 << 20;
const copy = (from: string, to: string, flag: string) =>
  `dd if=${from} of=${to} bs=64k count=16 ${flag}=direct status=none`;

/** What the guest does, one after the other. Each is a shell command that succeeds. */
const cases: readonly [what: string, command: string, program?: string][] = [
  ['finds the namespace', 'test "$(cat /sys/block/nvme0n1/size)" = 131072'],
  ['takes MSI-X interrupts', 'grep -q "nvme0q1" /proc/interrupts'],
  [
    'writes 1 MiB',
    `head -c ${String(size)} /dev/urandom >/tmp/written && ${copy('/tmp/written', '/dev/nvme0n1', 'oflag')}`,
  ],
  ['reads it back', `${copy('/dev/nvme0n1', '/tmp/read', 'iflag')} && cmp /tmp/written /tmp/read`],
  ['list', 'nvme list | grep -q "^/dev/nvme0n1 .* 67.11  *MB"', 'nvme'],
  ['id-ctrl', 'nvme id-ctrl /dev/nvme0 | grep -qx "ver  *: 0x10400"', 'nvme'],
  ['id-ns', 'nvme id-ns /dev/nvme0n1 | grep -qx "nsze  *: 0x20000"', 'nvme'],
  ['smart-log counts', 'nvme smart-log /dev/nvme0 | grep -q "^host_write_commands.*: *[1-9]"', 'nvme'],
  ['error-log', 'nvme error-log /dev/nvme0 | grep -q "Error Log Entries"', 'nvme'],
  ['get-feature', 'nvme get-feature /dev/nvme0 -f 7 | grep -q "Number of Queues"', 'nvme'],
  ['flush', 'nvme flush /dev/nvme0 -n 1', 'nvme'],
  [
    'compare',
    'head -c 4096 /tmp/written >/tmp/block && nvme compare /dev/nvme0n1 -s 0 -c 7 -z 4096 -d /tmp/block',
    'nvme',
  ],
  ['reset', 'nvme reset /dev/nvme0', 'nvme'],
  ['rescan by sysfs', 'echo 1 >/sys/class/nvme/nvme0/reset_controller'],
  ['reads the same after resets', `${copy('/dev/nvme0n1', '/tmp/again', 'iflag')} && cmp /tmp/written /tmp/again`],
  ['logs no error', '! dmesg | grep -E "nvme.*(timeout|I/O error|Abort|failed)|WARNING|BUG:"'],
];
const mark = 'stranger:';

const nameOf = (program?: string) =>
  program === 'nvme' ? "nvme-cli in QEMU's guest" : "Linux's nvme driver in QEMU's guest";

function script(): string {
  return [
    '#!/bin/bash',
    'export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp',
    'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp',
    'for i in {1..100}; do [ -e /dev/nvme0n1 ] && break; sleep 0.1; done',
    ...cases.map(
      ([, command], i) => `{ ${command}; } >/tmp/out 2>&1; echo "${mark}${String(i)}:$?:$(tail -n 1 /tmp/out)"`,
    ),
    'echo o >/proc/sysrq-trigger; while :; do :; done',
    '',
  ].join('\n');
}

function boot(title: string, device: readonly string[]): Row[] {
  const stage = mkdtempSync('/var/tmp/vfio-dmabuf-strangers-');
  try {
    writeFileSync(join(stage, 'init'), script(), { mode: 0o755 });
    const { output } = onFake(
      200,
      'qemu-system-x86_64',
      ...['-machine', 'q35,accel=tcg', '-cpu', 'max', '-m', '512M', '-nodefaults', '-display', 'none'],
      ...['-serial', 'stdio', '-no-reboot', '-kernel', kernelImage()],
      ...['-virtfs', 'local,path=/,mount_tag=hostfs,security_model=none,readonly=on,multidevs=remap'],
      ...['-device', 'pcie-root-port,id=root0,chassis=1', ...device],
      '-append',
      `console=ttyS0 panic=-1 loglevel=1 no_timer_check root=hostfs rootfstype=9p init=${join(stage, 'init')} ` +
        'rootflags=trans=virtio,ro,msize=512000,cache=loose',
    );
    return cases.map(([what, , program], i) => {
      const name = `${nameOf(program)}${title}`;
      const found = new RegExp(`${mark}${String(i)}:(\\d+):(.*)`).exec(output);
      if (found?.[1] === '0') return passed(name, what);
      if (found?.[1] === '127') return skipped(name, what, `${program ?? 'a program'} is not installed`);
      return failed(name, what, found ? `status ${found[1] ?? ''}: ${found[2] ?? ''}` : output.slice(-300));
    });
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

export function guestRows(): Row[] {
  const name = 'QEMU';
  const probe = spawnSync('qemu-system-x86_64', ['-object', 'iommufd,help'], { encoding: 'utf8' });
  if (probe.error) return [skipped(name, 'a drive in a guest', 'qemu-system-x86_64 is not installed')];
  const drive = addressOf(reference, 'ssd');
  const rows = boot('', ['-device', `vfio-pci,host=${drive},bus=root0`]);
  if (probe.status !== 0)
    return [...rows, skipped(name, 'a drive in a guest, by IOMMUFD', 'this QEMU has no iommufd object')];
  const device = ['-object', 'iommufd,id=iommufd', '-device', `vfio-pci,host=${drive},bus=root0,iommufd=iommufd`];
  return [...rows, ...boot(', by IOMMUFD', device)];
}
