// Names of vendors and devices from the system's pci.ids file (https://pci-ids.ucw.cz), where there is one.
import { readFileSync } from 'node:fs';
import { attempt } from '../kernel/look';

/** Where distributions put it. The environment variable VFIO_DMABUF_PCI_IDS names another file; '': none. */
const places = [
  '/usr/share/misc/pci.ids',
  '/usr/share/hwdata/pci.ids',
  '/usr/share/pci.ids',
  '/usr/local/share/pciids/pci.ids',
  '/var/lib/pciutils/pci.ids',
];
const variable = 'VFIO_DMABUF_PCI_IDS';

/** The file's text, by path, with a line break before the first line. */
const texts = new Map<string, string>();

function readIds(): string {
  const chosen = process.env[variable];
  for (const path of chosen === undefined ? places : [chosen]) {
    const text = texts.get(path) ?? attempt(() => `\n${readFileSync(path, 'utf8')}\n`);
    if (text === undefined) continue;
    texts.set(path, text);
    return text;
  }
  return '';
}

const hex4 = (value: number): string => value.toString(16).padStart(4, '0');
const lineFrom = (text: string, at: number): string => text.slice(at, text.indexOf('\n', at)).trim();

/** The position behind `\n` + `key` + two spaces, from `from` to `end`; undefined: it is not there. */
function find(text: string, key: string, from: number, end: number): number | undefined {
  const start = `\n${key}  `;
  const at = text.indexOf(start, from);
  return at < 0 || at >= end ? undefined : at + start.length;
}

/** Names from pci.ids; undefined: it has none. */
export interface PciNames {
  vendor: string | undefined;
  device: string | undefined;
}

const known = new Map<string, PciNames>();

/** Returns the names of a vendor and its device. @internal */
export function pciNames(vendor: number, device: number): PciNames {
  const key = `${process.env[variable] ?? ''} ${hex4(vendor)}:${hex4(device)}`;
  const found = known.get(key) ?? lookUp(vendor, device);
  known.set(key, found);
  return found;
}

function lookUp(vendor: number, device: number): PciNames {
  const text = readIds();
  const at = find(text, hex4(vendor), 0, text.length);
  if (at === undefined) return { vendor: undefined, device: undefined };
  // A vendor's block ends at the next line that is neither indented nor a comment nor empty.
  const next = /\n(?![\t#\n])/g;
  next.lastIndex = at;
  const end = next.exec(text)?.index ?? text.length;
  const deviceAt = find(text, `\t${hex4(device)}`, at, end);
  return { vendor: lineFrom(text, at), device: deviceAt === undefined ? undefined : lineFrom(text, deviceAt) };
}
