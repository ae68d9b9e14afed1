// Finds the public methods that make each ioctl, by their docstrings.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const lib = path.resolve(__dirname, '../../lib');

/** The summary and the remarks of a declaration's docstring, without its tags for parameters and errors. */
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

/** 'VfioDevice.reset', 'cdevPath', …; undefined: the node has no name. */
function nameOf(node: ts.Node): string | undefined {
  if (ts.isFunctionDeclaration(node)) return node.name && `${node.name.text}()`;
  if (!ts.isClassElement(node) || !node.name || !ts.isClassLike(node.parent)) return undefined;
  const owner = node.parent.name?.text ?? '';
  if (owner === 'KernelError') return undefined; // its docstrings name ioctls as examples
  const call = ts.isMethodDeclaration(node) ? '()' : '';
  return `${owner}.${node.name.getText()}${call}`;
}

/** The methods whose docstrings name an ioctl, by the ioctl's name. */
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
