// The command `vfio-dmabuf topology`.
import type { Command } from 'commander';
import type { PciFunction } from '../pci/function';
import { isSystem, shortName } from '../pci/names';
import type { P2pMatrix } from '../pci/p2p-matrix';
import type { PciTopology } from '../pci/topology';
import { adviseJson, adviseLines, mistakeLines } from './advise';
import { toBranches, withDevices } from './branches';
import { collapse, mostSeparate } from './collapse';
import { addFilters, chooseDevices, isFiltered, isPattern, type FilterOptions } from './filter';
import { readHost, rootOption, toJson } from './host';
import { matrixRows } from './matrix';
import { json, print, standardOutput, write } from './output';
import { pathJson, pathLines } from './path';
import { layOut } from './picture';
import { toSvg } from './svg';
import { gapLines, treeLines } from './tree';

interface Options extends FilterOptions {
  matrix?: boolean;
  advise?: boolean;
  json?: boolean;
  svg?: string;
  root?: string;
}

function functionJson(found: PciFunction): unknown {
  const { acs, port, children } = found;
  return {
    ...toJson(found, shortName(found)),
    port: port ?? null,
    acs: { state: acs.state, redirects: acs.state === 'present' ? acs.redirects : null },
    children: children.map(functionJson),
  };
}

function treeJson({ cpu, hostBridges }: PciTopology): unknown {
  return {
    cpu: cpu ? { vendor: cpu.vendor ?? null, family: cpu.family ?? null } : null,
    hostBridges: [...hostBridges].map(([name, functions]) => ({ name, functions: functions.map(functionJson) })),
  };
}

/** With more devices, JSON has the verdicts on groups of devices only. */
const mostPairs = 256;

/** Returns the parts of the matrix as JSON, row by row. */
function* matrixJson(matrix: P2pMatrix): Generator<string> {
  const { devices } = matrix;
  const groups = matrix.groups();
  const row = (i: number, others: readonly number[]) => JSON.stringify(others.map((j) => matrix.verdict(i, j)));
  function* rows(name: string, indices: readonly number[]): Generator<string> {
    for (const [n, i] of indices.entries()) {
      yield `${n === 0 ? `  "${name}": [\n` : ',\n'}    ${row(i, indices)}`;
    }
    yield indices.length === 0 ? `  "${name}": []` : '\n  ]';
  }
  const all = devices.map((_, i) => i);
  yield `{\n  "devices": ${JSON.stringify(devices.map(({ address }) => address))},\n`;
  if (devices.length > mostPairs) yield '  "verdicts": null';
  else yield* rows('verdicts', all);
  const told = groups.map((group) => ({
    devices: group.devices.map((i) => devices[i]?.address),
    within: group.within ?? null,
  }));
  yield `,\n  "groups": ${JSON.stringify(told)},\n`;
  yield* rows(
    'between',
    groups.map((group) => group.devices[0] ?? 0),
  );
  yield '\n}\n';
}

function stream(parts: Iterable<string>): void {
  for (const part of parts) process.stdout.write(part);
}

function tellPath(topology: PciTopology, from: string, to: string, asJson: boolean): void {
  const path = topology.p2pPath(from, to);
  const ioas = topology.sharedIoas([from, to]);
  print(asJson ? json(pathJson(path, ioas)) : pathLines(path, ioas).join('\n'));
  process.exitCode = path.verdict === 'direct' || path.verdict === 'host-bridge' ? 0 : 1;
}

function tellAdvice(topology: PciTopology, devices: readonly PciFunction[], asJson: boolean): void {
  const advice = topology.advise(devices);
  print(asJson ? json(adviseJson(topology, advice)) : adviseLines(topology, advice).join('\n'));
  process.exitCode = advice.indirect.length === 0 && advice.ports.length === 0 ? 0 : 1;
}

/** The tree without functions of the host itself, except those that identify a host bridge or were not seen. */
function treeOf(topology: PciTopology, matrix: P2pMatrix, isPart: boolean, all: boolean): string[] {
  const whole = toBranches(topology, matrix);
  const first = new Set([...topology.hostBridges.values()].map(([function0]) => function0));
  const shown = (self: PciFunction) => all || first.has(self) || self.gaps.length > 0 || !isSystem(self);
  const branches = isPart ? withDevices(whole) : withDevices(whole, shown);
  return treeLines(all || matrix.devices.length <= mostSeparate ? branches : collapse(branches, true));
}

function tellAll(topology: PciTopology, addresses: readonly string[], options: Options): void {
  const { matrix: asMatrix = false, svg, json: asJson = false, all = false } = options;
  if (asJson && !asMatrix && svg === undefined) {
    print(json(treeJson(topology)));
    return;
  }
  const matrix = topology.p2pMatrix(chooseDevices(topology, addresses, options));
  if (svg !== undefined) {
    write(svg, toSvg(layOut(topology, toBranches(topology, matrix), matrix)));
    if (svg === standardOutput) return;
    if (!asMatrix) print(`${svg}: ${String(matrix.devices.length)} devices`);
  }
  if (asMatrix && asJson) stream(matrixJson(matrix));
  if (asJson || (svg !== undefined && !asMatrix)) return;
  if (asMatrix) for (const line of matrixRows(matrix, all)) print(line);
  else print(treeOf(topology, matrix, addresses.length > 0 || isFiltered(options), all).join('\n'));
  const gaps = gapLines([...topology.unseen.values(), ...topology.functions.values()]);
  for (const line of [...gaps, ...mistakeLines(topology.commandLineMistakes())]) print(line);
}

export function addTopology(program: Command): void {
  const command = addFilters(program.command('topology'), 'functions of the host itself, too; each device by itself');
  command
    .description('the PCI tree; whether two devices reach each other, by what path, and what would make it better')
    .argument(
      '[address...]',
      "two devices to tell of; with --matrix, --svg or --advise any number; '*' stands for anything: '13:*'",
    )
    .option('-m, --matrix', 'the verdicts on all pairs')
    .option('--advise', 'the smallest change to this host that makes the devices direct, and what it gives up')
    .option('--svg <file>', 'draw the host: the tree, and the verdicts on all pairs; -: to standard output')
    .option('--json', 'as JSON (see below)')
    .addOption(rootOption())
    .addHelpText(
      'after',
      `
The verdicts are those of the kernel's own drivers. In the tree, a place where paths meet has them in brackets.
Root is shown what decides (Access Control Services); others get "unknown" where it matters.

Of more than 64 devices, those that are alike are shown together, unless --all is given.

Exits with 0; of two devices, with 1 when their path is not supported or unknown; with --advise, with 1 when the devices
do not reach each other directly as things are.

JSON of two: { from, to, verdict, reason, distance, common, hops, redirects, unreadable, bandwidth, slowest,
  advice: [{ text, kernelParameter, cost }],
  sharedIoas: { possible, objections: [{ device, text }], windows: [{ start, last }] } }
JSON of --matrix: { devices: [address], verdicts: [[verdict]], groups: [{ devices: [address], within }],
  between: [[verdict]] }
  The verdict on two devices of a group is "within", on devices of two groups that in "between". Of more than 256 devices,
  "verdicts" is null.
JSON of --advise: { devices, ports, kernelParameter, cost, exposed, groups: [{ from, functions }],
  indirect: [{ from, to, verdict, reason }], moves: [{ device, ports }], notes: [{ kind, devices, text }],
  commandLine, mistakes: [{ option, text }] }
JSON of the tree: { cpu, hostBridges: [{ name, functions: [{ address, name, vendor, device, class, driver, cdev,
  iommuGroup, numaNode, link, model, physicalFunction, slot, serialNumber, gaps, port, acs: { state, redirects },
  children }] }] }
  "gaps" is what could not be seen, and why.
  A verdict is "direct", "host-bridge", "unsupported" or "unknown"; bandwidth is in GB/s.

Examples:
  $ sudo vfio-dmabuf topology
  $ sudo vfio-dmabuf topology 03:00.0 04:00.0
  $ sudo vfio-dmabuf topology --matrix
  $ sudo vfio-dmabuf topology --svg host.svg --class display nvme
  $ sudo vfio-dmabuf topology --advise 13:00.0 14:00.0 15:00.0
  $ VFIO_DMABUF_KERNEL=fake vfio-dmabuf topology 01:00.0 02:00.0
`,
    )
    .action((addresses: string[], options: Options) => {
      const [from, to, ...more] = addresses;
      const { matrix = false, svg, advise = false, json: asJson = false } = options;
      const all = matrix || svg !== undefined || addresses.some(isPattern) || isFiltered(options);
      if (!all && !advise && from !== undefined && (to === undefined || more.length > 0)) {
        command.error('error: topology tells of two devices; --matrix, --svg and --advise take any number');
      }
      if (options.svg === standardOutput && (options.matrix === true || options.json === true)) {
        command.error('error: --svg - and --matrix or --json would share standard output');
      }
      const topology = readHost(options.root);
      if (advise) tellAdvice(topology, chooseDevices(topology, addresses, options), asJson);
      else if (!all && from !== undefined && to !== undefined) tellPath(topology, from, to, asJson);
      else tellAll(topology, addresses, options);
    });
}
