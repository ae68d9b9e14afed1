// Formats the advice for a set of devices, as text and as JSON.
import { addParameter } from '../host/command-line';
import type { PciFunction } from '../pci/function';
import type { HostAdvice, IndirectPair } from '../pci/host-advice';
import type { FutureGroup } from '../pci/isolation';
import type { CommandLineMistake } from '../pci/kernel-command-line';
import { shortAddress, shortName } from '../pci/names';
import type { PciTopology } from '../pci/topology';
import { paint, table } from './output';
import { verdictLooks } from './verdict';

/** Longer lists are shortened; --json has them in full. */
const mostNames = 8;

function listed(names: readonly string[], separator = ', '): string {
  if (names.length <= mostNames) return names.join(separator);
  return `${names.slice(0, mostNames - 1).join(separator)}${separator}… (${String(names.length)} in all)`;
}

const short = (functions: readonly PciFunction[]): string =>
  listed(functions.map(({ address }) => shortAddress(address)));
const redirect = 'disable_acs_redir=';

function groupText({ from, functions }: FutureGroup): string {
  const numbers = from.map(String).join(' + ');
  return `${from.length > 1 ? `groups ${numbers} merge` : `group ${numbers}`}: ${short(functions)}`;
}

/** Combines pairs with the same verdict and reason. */
function pairRows(pairs: readonly IndirectPair[]): string[] {
  const found = new Map<string, string[]>();
  for (const { from, to, verdict, reason } of pairs) {
    const key = `${verdictLooks[verdict].text}: ${reason}`;
    found.set(key, [...(found.get(key) ?? []), `${shortAddress(from.address)} and ${shortAddress(to.address)}`]);
  }
  return [...found].map(([reason, names]) => `${listed(names, '; ')}: ${reason}`);
}

function* rowsOf({ devices, ports, kernelParameter, cost, ...advice }: HostAdvice): Generator<[string, string]> {
  yield ['devices', listed(devices.map((one) => `${shortAddress(one.address)} ${shortName(one)}`))];
  if (kernelParameter === undefined) yield ['change', 'none: no port redirects between them'];
  else {
    yield ['change', `no redirection at ${short(ports)}`];
    yield ['parameter', kernelParameter];
    yield ['gives up', cost ?? ''];
    if (advice.exposed.length > 0) {
      yield ['exposes', `${short(advice.exposed)}: these reach the devices directly, too, and are reached`];
    }
  }
  for (const [i, group] of advice.groups.entries()) yield [i === 0 ? 'IOMMU' : '', groupText(group)];
  for (const [i, row] of pairRows(advice.indirect).entries()) yield [i === 0 ? 'not direct' : '', row];
  const [move] = advice.moves;
  if (move) {
    const to =
      move.ports.length > 0 ? `to slots below ${short(move.ports)}` : 'to their switch, which has no free port';
    yield ['move', `${short(advice.moves.map(({ device }) => device))} to where most of the others are: ${to}`];
  }
  for (const [i, { text }] of advice.notes.entries()) yield [i === 0 ? 'note' : '', text];
}

/** Returns the mistakes on the kernel's command line as rows; none without mistakes. */
export function mistakeLines(mistakes: readonly CommandLineMistake[]): string[] {
  if (mistakes.length === 0) return [];
  return [
    '',
    table(
      ['command line', 'mistake'],
      mistakes.map(({ option, text }) => [option, text]),
    ),
  ];
}

export function adviseLines(topology: PciTopology, advice: HostAdvice): string[] {
  const { kernelParameter } = advice;
  const present = topology.commandLine?.includes(redirect) === true;
  const commands = kernelParameter === undefined || present ? [] : addParameter(kernelParameter);
  const replace =
    kernelParameter !== undefined && present
      ? [`Put it in the place of the present pci=${redirect}…, of which Linux uses only the last.`]
      : [];
  return [
    table(['', 'so that they reach each other directly'], [...rowsOf(advice)]),
    ...(commands.length > 0 ? ['', paint('bold', 'As root:'), ...commands.map((command) => `  ${command}`)] : []),
    ...replace,
    ...mistakeLines(topology.commandLineMistakes()),
  ];
}

const addresses = (functions: readonly PciFunction[]) => functions.map(({ address }) => address);

export function adviseJson(topology: PciTopology, advice: HostAdvice): unknown {
  const { devices, ports, kernelParameter = null, cost = null, exposed, groups, indirect, moves, notes } = advice;
  return {
    devices: addresses(devices),
    ports: addresses(ports),
    kernelParameter,
    cost,
    exposed: addresses(exposed),
    groups: groups.map(({ from, functions }) => ({ from, functions: addresses(functions) })),
    indirect: indirect.map(({ from, to, verdict, reason }) => ({
      from: from.address,
      to: to.address,
      verdict,
      reason,
    })),
    moves: moves.map((move) => ({ device: move.device.address, ports: addresses(move.ports) })),
    notes: notes.map((note) => ({ kind: note.kind, devices: addresses(note.devices), text: note.text })),
    commandLine: topology.commandLine ?? null,
    mistakes: topology.commandLineMistakes(),
  };
}
