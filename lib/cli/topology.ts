// The command `vfio-dmabuf topology`.
import type { Command } from 'commander';
import type { PciFunction } from '../pci/function';
import { shortName } from '../pci/names';
import type { P2pMatrix } from '../pci/p2p-matrix';
import type { PciTopology } from '../pci/topology';
import { toBranches } from './branches';
import { readHost, rootOption, toJson } from './host';
import { matrixLines } from './matrix';
import { json, print, standardOutput, write } from './output';
import { pathJson, pathLines } from './path';
import { layOut } from './picture';
import { toSvg } from './svg';
import { treeLines } from './tree';

interface Options {
  matrix?: boolean;
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
    cpu: cpu ?? null,
    hostBridges: [...hostBridges].map(([name, functions]) => ({ name, functions: functions.map(functionJson) })),
  };
}

function matrixJson(matrix: P2pMatrix): unknown {
  const { devices } = matrix;
  return {
    devices: devices.map(({ address }) => address),
    verdicts: devices.map((_, i) => devices.map((_other, j) => matrix.verdict(i, j))),
  };
}

function tellPath(topology: PciTopology, from: string, to: string, asJson: boolean): void {
  const path = topology.p2pPath(from, to);
  const ioas = topology.sharedIoas([from, to]);
  print(asJson ? json(pathJson(path, ioas)) : pathLines(path, ioas).join('\n'));
  process.exitCode = path.verdict === 'direct' || path.verdict === 'host-bridge' ? 0 : 1;
}

function tellAll(topology: PciTopology, chosen: string[] | undefined, { matrix, svg, ...options }: Options): void {
  const devices = topology.p2pMatrix(chosen);
  const branches = toBranches(topology, devices);
  if (svg !== undefined) {
    write(svg, toSvg(layOut(topology, branches, devices)));
    if (svg === standardOutput) return;
    if (!matrix && !options.json) {
      print(`${svg}: ${String(devices.devices.length)} devices`);
      return;
    }
  }
  if (options.json) print(json(matrix ? matrixJson(devices) : treeJson(topology)));
  else print((matrix ? matrixLines(devices) : treeLines(branches)).join('\n'));
}

export function addTopology(program: Command): void {
  const command = program.command('topology');
  command
    .description('the PCI tree; whether two devices reach each other, by what path, and what would make it better')
    .argument('[address...]', 'two devices to tell of; with --matrix or --svg, any number')
    .option('-m, --matrix', 'the verdicts on all pairs')
    .option('--svg <file>', 'draw the host: the tree, and the verdicts on all pairs; -: to standard output')
    .option('--json', 'as JSON (see below)')
    .addOption(rootOption())
    .addHelpText(
      'after',
      `
The verdicts are those of the kernel's own drivers. In the tree, a place where paths meet has them in brackets.
Root is shown what decides (Access Control Services); others get "unknown" where it matters.

Exits with 0; of two devices, with 1 when their path is not supported or unknown.

JSON of two: { from, to, verdict, reason, distance, common, hops, redirects, unreadable, bandwidth, slowest,
  advice: [{ text, kernelParameter, cost }],
  sharedIoas: { possible, objections: [{ device, text }], windows: [{ start, last }] } }
JSON of --matrix: { devices: [address], verdicts: [[verdict]] }
JSON of the tree: { cpu, hostBridges: [{ name, functions: [{ address, name, vendor, device, class, driver, cdev,
  iommuGroup, numaNode, link, port, acs: { state, redirects }, children }] }] }
  A verdict is "direct", "host-bridge", "unsupported" or "unknown"; bandwidth is in GB/s.

Examples:
  $ sudo vfio-dmabuf topology
  $ sudo vfio-dmabuf topology 03:00.0 04:00.0
  $ sudo vfio-dmabuf topology --matrix
  $ sudo vfio-dmabuf topology --svg host.svg
  $ VFIO_DMABUF_KERNEL=fake vfio-dmabuf topology 01:00.0 02:00.0
`,
    )
    .action((addresses: string[], options: Options) => {
      const [from, to, ...more] = addresses;
      const all = options.matrix === true || options.svg !== undefined;
      if (!all && from !== undefined && (to === undefined || more.length > 0)) {
        command.error('error: topology tells of two devices; --matrix and --svg take any number');
      }
      if (options.svg === standardOutput && (options.matrix === true || options.json === true)) {
        command.error('error: --svg - and --matrix or --json would share standard output');
      }
      const topology = readHost(options.root);
      if (!all && from !== undefined && to !== undefined) tellPath(topology, from, to, options.json === true);
      else tellAll(topology, from === undefined ? undefined : addresses, options);
    });
}
