// Generates docs/abi.md: each ioctl and feature, its method, the conformance cases that exercise it, and the devices on
// which it worked. The sources are native/uapi, the docstrings of lib, and the records of a run on both kernels.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Case } from '../../test/conformance/record';
import { parseHeader } from '../check-abi';
import { noTestBed, leftOut } from './left-out';
import { methodsOf } from './methods';

export type Cases = Readonly<Record<string, Case>>;

const uapi = path.resolve(__dirname, '../../native/uapi');
const titles: Record<string, string> = {
  'vfio.h': 'VFIO',
  'iommufd.h': 'IOMMUFD',
  'dma_buf.h': 'dma-buf',
  'sync_file.h': 'Sync files',
  'udmabuf.h': 'udmabuf',
  'dma_heap.h': 'dma-heap',
};
const features = /^VFIO_DEVICE_FEATURE_(?!GET$|SET$|PROBE$|MASK$|CLEAR_MASTER$|SET_MASTER$)/;
/** Names that the library uses for a request instead of the header's. */
const alias: Partial<Record<string, string>> = { DMA_BUF_SET_NAME_B: 'DMA_BUF_SET_NAME' };

/** The ioctls and features that one of our headers declares. */
function requestsOf(header: string): string[] {
  const source = readFileSync(path.join(uapi, header), 'utf8');
  const requests = new Set([...source.matchAll(/\bconstexpr request_t (\w+) =/g)].map(([, name]) => name));
  return parseHeader(header, source)
    .filter(({ kind, name }) => kind === 'constant' && (requests.has(name) || features.test(name)))
    .filter(({ name }) => leftOut[name] === undefined)
    .map(({ name }) => alias[name] ?? name);
}

interface Row {
  ioctl: string;
  methods: readonly string[];
  cases: readonly string[];
  fake: string;
  system: string;
}

/** Formats the recorded results of an ioctl: 'edu, nvme; refused: EINVAL'. */
function verdict(ioctl: string, cases: Cases): string {
  const outcomes = new Set(Object.values(cases).flatMap(({ ioctls }) => ioctls?.[ioctl] ?? []));
  const parse = (outcome: string) => /^(?:(.*): )?(\w+)$/.exec(outcome);
  const parsed = [...outcomes].map((outcome) => ({ device: parse(outcome)?.[1], code: parse(outcome)?.[2] ?? '' }));
  const good = parsed.filter(({ code }) => code === 'ok');
  const devices = [...new Set(good.map(({ device }) => device ?? ''))].filter((device) => device !== '').sort();
  const codes = [...new Set(parsed.map(({ code }) => code))].filter((code) => code !== 'ok').sort();
  const works = good.length === 0 ? [] : [devices.length === 0 ? 'works' : `works: ${devices.join(', ')}`];
  return [...works, ...(codes.length === 0 ? [] : [`refused: ${codes.join(', ')}`])].join('; ');
}

function rowsOf(header: string, fake: Cases, system: Cases): Row[] {
  const requests = requestsOf(header);
  const methods = methodsOf(requests);
  return requests.map((ioctl) => ({
    ioctl,
    methods: methods.get(ioctl) ?? [],
    cases: Object.keys(fake).filter((name) => fake[name]?.ioctls?.[ioctl] ?? system[name]?.ioctls?.[ioctl]),
    fake: verdict(ioctl, fake),
    system: verdict(ioctl, system),
  }));
}

/** Describes what a row lacks. */
function missing({ ioctl, methods, fake, system }: Row): string[] {
  return [
    ...(methods.length === 0 ? [`${ioctl}: no public method's docstring names it`] : []),
    ...(fake === '' ? [`${ioctl}: no conformance case on the fake kernel`] : []),
    ...(system.startsWith('works') || noTestBed[ioctl] !== undefined
      ? []
      : [`${ioctl}: no conformance case in which the real kernel does it`]),
  ];
}

const cell = (text: string) => text.replaceAll('|', '\\|');

function markdown(rows: ReadonlyMap<string, readonly Row[]>, kernel: string, count: number): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  const table = (row: Row) => {
    const reason = noTestBed[row.ioctl];
    const real = [row.system, ...(reason === undefined ? [] : [`no test bed: ${reason}`])];
    const methods = row.methods.map((name) => `\`${name}\``).join(', ');
    return line([`\`${row.ioctl}\``, methods, String(row.cases.length), row.fake, real.filter(Boolean).join('; ')]);
  };
  const sections = [...rows].flatMap(([header, its]) => [
    `## ${titles[header] ?? header}`,
    '',
    line(['ioctl or feature', 'method', 'cases', 'fake kernel', kernel]),
    line(['---', '---', '---:', '---', '---']),
    ...its.map(table),
    '',
  ]);
  const lists = [...rows.values()]
    .flat()
    .flatMap(({ ioctl, cases }) => [
      `### ${ioctl}`,
      '',
      ...cases.map((title) => `- ${title.replaceAll(/([*_<>[\]])/g, '\\$1')}`),
      '',
    ]);
  return [
    '# The ABI, and what was verified',
    '',
    `Made by \`npm run test:vm -- --write-table\` from the code and from a run of the ${String(count)} conformance cases on the ` +
      `fake kernel and on ${kernel} in a virtual machine, which agreed. *works* names the devices with which a call ` +
      'succeeded; *refused* the errnos that were asked for and came.',
    '',
    ...sections,
    '## Not wrapped',
    '',
    line(['ioctl', 'why']),
    line(['---', '---']),
    ...Object.entries(leftOut).map(([ioctl, why]) => line([`\`${ioctl}\``, why ?? ''])),
    '',
    '## The cases',
    '',
    ...lists,
  ].join('\n');
}

/** Generates the table. Returns it and a description of what it lacks. */
export function abiTable(fake: Cases, system: Cases, kernel: string): { text: string; missing: string[] } {
  const headers = readdirSync(uapi)
    .filter((header) => titles[header] !== undefined) // without the headers for test beds
    .sort((a, b) => Object.keys(titles).indexOf(a) - Object.keys(titles).indexOf(b));
  const rows = new Map(headers.map((header) => [header, rowsOf(header, fake, system)]));
  const text = markdown(rows, kernel, Object.keys(fake).length);
  return { text, missing: [...rows.values()].flat().flatMap(missing) };
}
