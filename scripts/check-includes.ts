// npm run check:includes: checks the includes of each folder of native/ against the table in native/README.md, and that
// each file begins with a comment that states its subject.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** The includes that each folder is allowed, lowest folder first. */
export function readFloors(markdown: string): Map<string, readonly string[]> {
  const namesIn = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? '');
  const floors = new Map<string, readonly string[]>();
  for (const [, folder = '', , included = ''] of markdown.matchAll(/^\| `([^`]+)` \|(.*)\|([^|]*)\|$/gm)) {
    const allowed = namesIn(included);
    const unknown = allowed.filter((name) => name !== 'node' && !floors.has(name));
    if (unknown.length > 0) throw new Error(`${folder} may include ${unknown.join(', ')}, which is not above it`);
    floors.set(folder, allowed);
  }
  return floors;
}

/** Returns the faults of one file. `file` is its path in native/. */
export function faultsOf(file: string, source: string, floors: ReadonlyMap<string, readonly string[]>): string[] {
  const folder = path.dirname(file);
  const allowed = floors.get(folder);
  if (allowed === undefined) return [`${file}: native/README.md has no row for ${folder}`];
  const faults = source.startsWith('// ') ? [] : [`${file}: does not begin with a comment that states its subject`];
  for (const [, bracket, included = ''] of source.matchAll(/^#\s*include\s*([<"])([^>"]+)/gm)) {
    const node = /^(napi|node|node_api|js_native_api|uv|v8)[-\w]*\.h$/.test(included);
    if (bracket === '<' && !node) continue;
    const from = node ? 'node' : path.dirname(included);
    if (from !== folder && !allowed.includes(from)) faults.push(`${file}: ${folder} may not include ${included}`);
  }
  return faults;
}

function main(): number {
  const native = path.resolve(__dirname, '../native');
  const floors = readFloors(readFileSync(path.join(native, 'README.md'), 'utf8'));
  const files = readdirSync(native, { recursive: true, encoding: 'utf8' }).filter((file) => /\.(h|cc|inc)$/.test(file));
  const faults = files.flatMap((file) => faultsOf(file, readFileSync(path.join(native, file), 'utf8'), floors));
  for (const fault of faults) console.log(fault);
  console.log(`check:includes: ${files.length} files in ${floors.size} folders, ${faults.length} faults`);
  return faults.length === 0 ? 0 : 1;
}

if (require.main === module) process.exitCode = main();
