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

function checkedPath(path: unknown): string {
  return typeof path === 'string' && safe.test(path) ? path : fail(`path ${JSON.stringify(path)}`);
}

function checkedMap<T>(value: unknown, what: string, check: (entry: unknown) => T): [string, T][] {
  if (!isRecord(value)) fail(`it has no ${what}`);
  return Object.entries(value).map(([path, entry]) => [checkedPath(path), check(entry)]);
}

const checkedText = (value: unknown): string => (typeof value === 'string' ? value : fail('a file that is no text'));

function checkedConfig(value: unknown): Buffer {
  if (!isRecord(value)) fail('config space');
  const { bytes, size } = value;
  if (typeof bytes !== 'string' || !/^(?:[0-9a-f]{2})*$/i.test(bytes)) fail('config space');
  if (typeof size !== 'number' || !Number.isInteger(size) || size < bytes.length / 2 || size > largestConfig)
    fail('the size of config space');
  return Buffer.concat([Buffer.from(bytes, 'hex'), Buffer.alloc(size)], size);
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
  if (!isRecord(value)) fail('no object');
  return value as unknown as RecordedHost; // writeRecorded() checks the rest
}

/**
 * Writes the host below `folder`. Returns the path of its sysfs.
 *
 * @throws Error ERR_NOT_A_RECORD
 */
export function writeRecorded(folder: string, host: RecordedHost): string {
  const folders = Array.isArray(host.folders) ? host.folders.map(checkedPath) : fail('it has no folders');
  const files: [string, string | Buffer][] = [
    ...checkedMap(host.files, 'files', checkedText),
    ...checkedMap(host.config, 'config', checkedConfig),
  ];
  const links = checkedMap(host.links, 'links', checkedPath);
  const place = (path: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    return join(folder, path);
  };
  for (const path of folders) mkdirSync(join(folder, path), { recursive: true });
  for (const [path, content] of files) writeFileSync(place(path), content);
  for (const [path, target] of links) {
    mkdirSync(dirname(join(folder, target)), { recursive: true });
    symlinkSync(relative(dirname(join(folder, path)), join(folder, target)), place(path));
  }
  return join(folder, 'sys');
}
