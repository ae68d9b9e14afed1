// The kernel's decision (calc_map_type_and_dist() of drivers/pci/p2pdma.c, Linux 7.3), computed step by step from the
// bytes of config space. It is slow and simple, to check the library's faster method.
import { readFileSync, realpathSync } from 'node:fs';

const devices = '/sys/bus/pci/devices';
const acsCapability = 0x000d;
/** P2P Request Redirect, P2P Completion Redirect, P2P Egress Control: PCI Express 6.0, 7.7.11.3 */
const redirecting = 0x04 | 0x08 | 0x20;

type Verdict = 'direct' | 'host-bridge' | 'unsupported';

/** A device and the bridges above it: '0000:01:00.0', '0000:00:10.0'. */
function chain(address: string): string[] {
  const names = realpathSync(`${devices}/${address}`).split('/');
  return names.filter((name) => /^[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(name)).reverse();
}

function redirects(address: string): boolean {
  const config = readFileSync(`${devices}/${address}/config`);
  let offset = config.length > 0x100 ? 0x100 : 0;
  while (offset >= 0x100) {
    const header = config.readUInt32LE(offset);
    if ((header & 0xffff) === acsCapability) return (config.readUInt16LE(offset + 6) & redirecting) !== 0;
    offset = header >>> 20;
  }
  return false;
}

/** AMD CPUs from family 17h on pass; QEMU's q35 is not in the kernel's list of host bridges. */
function hostPasses(): boolean {
  const cpuinfo = readFileSync('/proc/cpuinfo', 'utf8');
  const family = Number(/^cpu family\s*: (\d+)/m.exec(cpuinfo)?.[1]);
  return cpuinfo.includes('AuthenticAMD') && family >= 0x17;
}

export function decide(provider: string, client: string): { verdict: Verdict; distance: number } {
  const [up, down] = [chain(provider), chain(client)];
  let redirections = 0;
  for (const [i, bridge] of up.entries()) {
    if (redirects(bridge)) redirections += 1;
    const meeting = down.indexOf(bridge);
    if (meeting < 0) continue;
    redirections += down.slice(0, meeting).filter(redirects).length;
    const distance = i + meeting;
    if (redirections === 0) return { verdict: 'direct', distance };
    return { verdict: hostPasses() ? 'host-bridge' : 'unsupported', distance };
  }
  return { verdict: hostPasses() ? 'host-bridge' : 'unsupported', distance: up.length + down.length };
}
