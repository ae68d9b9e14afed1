// The checkout's TypeScript as plain JavaScript in build/plain, at the same paths: for processes that must start fast in
// the virtual machine, and for worker threads, whose first file tsx does not load.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript';

const checkout = resolve(__dirname, '..');
const compilerOptions = { module: ModuleKind.CommonJS, target: ScriptTarget.ES2022, esModuleInterop: true };

/** Where a source file's JavaScript is. */
export function plain(source: string): string {
  return join(checkout, 'build/plain', source.replace(/\.ts$/, '.js'));
}

/** Transpiles lib, examples and these folders. Types are not checked: `npm run check:types` does. */
export function transpile(...folders: string[]): void {
  for (const folder of ['lib', 'examples', ...folders]) {
    for (const name of readdirSync(join(checkout, folder), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      const target = plain(join(folder, name));
      mkdirSync(dirname(target), { recursive: true });
      const text = readFileSync(join(checkout, folder, name), 'utf8');
      writeFileSync(target, transpileModule(text, { compilerOptions }).outputText);
    }
  }
}
