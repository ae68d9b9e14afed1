// Which public method makes which ioctl: what the docstrings say.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const lib = path.resolve(__dirname, '../../lib');

/** The summary of a declaration's docstring, and its remarks: not what it says of arguments and errors. */
function docOf(node: ts.Node): string {
  return ts
    .getJSDocCommentsAndTags(node)
    .filter(ts.isJSDoc)
    .map(({ comment }) => ts.getTextOfJSDocComment(comment) ?? '')
    .join('\n');
}

function isInternal(node: ts.Node): boolean {
  return ts.getJSDocTags(node).some(({ tagName }) => tagName.text === 'internal');
}

/** 'VfioDevice.reset', 'cdevPath', …; undefined for what has no name. */
function nameOf(node: ts.Node): string | undefined {
  if (ts.isFunctionDeclaration(node)) return node.name && `${node.name.text}()`;
  if (!ts.isClassElement(node) || !node.name || !ts.isClassLike(node.parent)) return undefined;
  const owner = node.parent.name?.text ?? '';
  if (owner === 'KernelError') return undefined; // names ioctls as examples
  const call = ts.isMethodDeclaration(node) ? '()' : '';
  return `${owner}.${node.name.getText()}${call}`;
}

/** By the ioctl's name, the methods whose docstrings name it. */
export function methodsOf(ioctls: readonly string[]): Map<string, string[]> {
  const methods = new Map<string, string[]>(ioctls.map((name) => [name, []]));
  const visit = (node: ts.Node) => {
    const name = nameOf(node);
    if (name !== undefined && !isInternal(node)) {
      for (const [word] of docOf(node).matchAll(/\b[A-Z][A-Z0-9]*_[A-Za-z0-9_]+\b/g)) {
        const known = methods.get(word);
        if (known && !known.includes(name)) known.push(name);
      }
    }
    ts.forEachChild(node, visit);
  };
  for (const file of readdirSync(lib, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!file.endsWith('.ts') || file.startsWith('fake/')) continue;
    const text = ts.sys.readFile(path.join(lib, file)) ?? '';
    visit(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true));
  }
  return methods;
}
