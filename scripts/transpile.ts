// Transpiles the checkout's TypeScript to JavaScript in build/plain, at the same paths. It serves processes that must
// start fast in the virtual machine, and worker threads, whose first file tsx does not load.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { ModuleKind, ScriptTarget, transpileModule } from 'typescript';

const checkout = resolve(__dirname, '..');
const compilerOptions = { module: ModuleKind.CommonJS, target: ScriptTarget.ES2022, esModuleInterop: true };

/** The path of a source file's JavaScript. */
export function plain(source: string): string {
  return join(checkout, 'build/plain', source.replace(/\.ts$/, '.js'));
}

/** Transpiles lib, examples and these folders. It does not check types; `npm run check:types` does. */
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
