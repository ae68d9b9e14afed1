// A recorded host (lib/host/record.ts), and how it is written as files.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { codedError } from '../errors/errors';

/** A host as one document. Paths begin at the root: '/sys/bus/pci/devices/0000:01:00.0'. */
export interface RecordedHost {
  /** The text of each file, by path. */
  files: Record<string, string>;
  /** By path: the bytes in hexadecimal up to the last that is not 0, and the size. */
  config: Record<string, { bytes: string; size: number }>;
  /** The target of each link from the root on, by path. */
  links: Record<string, string>;
  folders: string[];
}

/** Records come from others: a path must stay in the folder that the host is written to. */
const safe = /^\/(?:sys|proc|lib)(?:\/(?!\.{1,2}(?:\/|$))[^/\0]+)+$/;
const largestConfig = 4096;

function fail(what: string): never {
  throw codedError('ERR_NOT_A_RECORD', `this is not a host that \`vfio-dmabuf record\` wrote: ${what}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function checkedPath(path: unknown): void {
  if (typeof path !== 'string' || !safe.test(path)) fail(`path ${JSON.stringify(path)}`);
}

function checkMap(value: unknown, what: string, check: (entry: unknown) => void): void {
  if (!isRecord(value)) fail(`it has no ${what}`);
  for (const [path, entry] of Object.entries(value)) {
    checkedPath(path);
    check(entry);
  }
}

function checkedText(value: unknown): void {
  if (typeof value !== 'string') fail('a file that is no text');
}

function checkedConfig(value: unknown): void {
  if (!isRecord(value)) fail('config space');
  const { bytes, size } = value;
  if (typeof bytes !== 'string' || !/^(?:[0-9a-f]{2})*$/i.test(bytes)) fail('config space');
  if (typeof size !== 'number' || !Number.isInteger(size) || size < bytes.length / 2 || size > largestConfig)
    fail('the size of config space');
}

/**
 * Checks that it is a recorded host whose files stay in the folder that it is written to.
 *
 * @throws Error ERR_NOT_A_RECORD
 */
export function checkRecorded(value: unknown): RecordedHost {
  if (!isRecord(value)) fail('no object');
  if (!Array.isArray(value['folders'])) fail('it has no folders');
  for (const path of value['folders']) checkedPath(path);
  checkMap(value['files'], 'files', checkedText);
  checkMap(value['config'], 'config', checkedConfig);
  checkMap(value['links'], 'links', checkedPath);
  return value as unknown as RecordedHost;
}

/**
 * Parses the JSON of a recorded host.
 *
 * @throws Error ERR_NOT_A_RECORD
 */
export function parseRecorded(json: string): RecordedHost {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    fail(`no JSON (${(error as Error).message})`);
  }
  return checkRecorded(value);
}

/**
 * Writes the host below `folder`. Returns the path of its sysfs.
 *
 * @throws Error ERR_NOT_A_RECORD
 */
export function writeRecorded(folder: string, host: RecordedHost): string {
  const { files, config, links, folders } = checkRecorded(host);
  const place = (path: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    return join(folder, path);
  };
  for (const path of folders) mkdirSync(join(folder, path), { recursive: true });
  for (const [path, content] of Object.entries(files)) writeFileSync(place(path), content);
  for (const [path, { bytes, size }] of Object.entries(config)) {
    writeFileSync(place(path), Buffer.concat([Buffer.from(bytes, 'hex'), Buffer.alloc(size)], size));
  }
  for (const [path, target] of Object.entries(links)) {
    mkdirSync(dirname(join(folder, target)), { recursive: true });
    symlinkSync(relative(dirname(join(folder, path)), join(folder, target)), place(path));
  }
  return join(folder, 'sys');
}
