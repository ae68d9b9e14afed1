// The property names that the addon or the library reads or writes, collected from their sources. Names that are added
// later are included.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

const root = path.join(__dirname, '../../..');

function sources(folder: string, ending: RegExp): string[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => ending.test(file))
    .map((file) => path.join(root, folder, file));
}

/** All string literals of native/binding that can be names. Some of them are not. */
function namesOfAddon(): string[] {
  const files = sources('native/binding', /\.(cc|h)$/);
  const literals = files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/"([\w-]+)"/g)]);
  return literals.map(([, name]) => name!);
}

/** All identifiers and literals in positions of property names. */
function namesOfLibrary(): string[] {
  const names: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node)) names.push(node.name.text);
    else if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression))
      names.push(node.argumentExpression.text);
    else if (ts.isBindingElement(node)) names.push((node.propertyName ?? node.name).getText().replace(/'/g, ''));
    else if (ts.isObjectLiteralElement(node) && node.name) names.push(node.name.getText().replace(/'/g, ''));
    else if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.InKeyword)
      names.push(node.left.getText().replace(/'/g, ''));
    ts.forEachChild(node, visit);
  };
  for (const file of sources('lib', /\.ts$/)) {
    visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true));
  }
  return names;
}

/** Names that JavaScript itself reads and writes for them: indices, iterators, promises, errors. */
const ofTheLanguage = [
  ...Array.from({ length: 12 }, (_, i) => String(i)),
  ...['then', 'next', 'return', 'throw', 'done', 'length', 'constructor', 'toJSON', 'cause', 'stack', 'message'],
  ...['prepareStackTrace', 'stackTraceLimit', 'byteLength', 'byteOffset', 'buffer', 'resolve', 'maxByteLength'],
  '4bda9e7e-4913-4dbc-95de-891cbf66598e-errorVal', // node-addon-api's own name
];

const isName = (name: string): boolean => /^[\w-]+$/.test(name) && name !== '__proto__';

export const names: readonly string[] = [
  ...new Set([...namesOfAddon(), ...namesOfLibrary(), ...ofTheLanguage].filter(isName)),
].sort();

/** The well-known symbols. */
export const symbols: readonly symbol[] = Object.getOwnPropertyNames(Symbol)
  .map((name) => (Symbol as unknown as Record<string, unknown>)[name])
  .filter((value) => typeof value === 'symbol');
