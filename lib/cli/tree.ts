// Formats the tree of a host as text.
import type { PciFunction } from '../pci/function';
import { shortAddress } from '../pci/names';
import type { Branch } from './branches';
import { branchName } from './collapse';
import { linkText } from './host';
import { lineWidth, paint, table } from './output';
import { verdictLooks } from './verdict';

function nodeOf({ self, branches }: Branch): string | undefined {
  const node = self ? undefined : branches.find((branch) => branch.self?.numaNode !== undefined)?.self?.numaNode;
  return node === undefined ? undefined : `NUMA node ${String(node)}`;
}

function about(branch: Branch): string {
  const { self, name, names } = branch;
  const several = names.length > 1;
  const which = several ? `${shortAddress(name)} … ${shortAddress(names.at(-1) ?? '')}` : shortAddress(name);
  const count = several ? `${String(names.length)} × ` : '';
  if (!self)
    return [name === '' ? 'host' : `${count}${which}`, nodeOf(branch)].filter((part) => part !== undefined).join(', ');
  const { driver, iommuGroup, acs, slot } = self;
  const facts = [
    `${count}${branchName(self, branch)}`,
    driver === 'pcieport' ? undefined : driver,
    iommuGroup === undefined || several ? undefined : `group ${String(iommuGroup)}`,
    linkText(self),
    acs.state === 'present' && acs.redirects ? 'ACS redirects' : undefined,
    slot === undefined || several ? undefined : `slot ${slot}`,
  ];
  return `${which}  ${facts.filter((fact) => fact !== undefined).join(', ')}`;
}

/** Longer lists of addresses are shortened. */
const mostNames = 8;

/** Returns what was not seen of the functions: a row for each reason. */
export function gapLines(functions: Iterable<PciFunction>): string[] {
  const found = new Map<string, string[]>();
  for (const { address, gaps } of functions) {
    for (const { text } of gaps) found.set(text, [...(found.get(text) ?? []), shortAddress(address)]);
  }
  const rows = [...found].map(([text, names]) => {
    const shown = names.slice(0, mostNames).join(', ');
    return [names.length > mostNames ? `${shown}, … (${String(names.length)} in all)` : shown, text];
  });
  return rows.length === 0 ? [] : ['', table(['not seen of', 'because'], rows)];
}

/** Returns the lines of a tree. A node where the paths of two devices join also shows the verdicts on these pairs. */
export function treeLines(branch: Branch, first = '', rest = ''): string[] {
  const { branches, verdicts } = branch;
  const plain = `${first}${about(branch)}`;
  const meet = verdicts.length > 0 ? ` [${verdicts.map((verdict) => verdictLooks[verdict].text).join(' | ')}]` : '';
  const cut = plain.length + meet.length > lineWidth() ? `${plain.slice(0, lineWidth() - meet.length - 1)}…` : plain;
  const [only] = verdicts;
  const painted = only && verdicts.length === 1 ? paint(verdictLooks[only].style, meet) : meet;
  const below = branches.flatMap((child, i) => {
    const last = i === branches.length - 1;
    return treeLines(child, `${rest}${last ? '└─ ' : '├─ '}`, `${rest}${last ? '   ' : '│  '}`);
  });
  return [`${cut}${painted}`, ...below];
}
