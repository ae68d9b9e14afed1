// The package runs on Node.js only: the addon uses libuv, as Node's own modules do. Bun 1.4 ends the process when it loads
// the addon, and Deno 2.9 does not load it. Each entry point of the package imports this file first, so that an error
// tells the cause instead.
import { coded } from './coded';

const others = { bun: 'Bun', deno: 'Deno' } as const;

/** Throws ERR_UNSUPPORTED_RUNTIME if these are the versions of another runtime. @internal */
export function requireNode(versions: Readonly<Record<string, string | undefined>>): void {
  for (const [key, name] of Object.entries(others)) {
    const version = versions[key];
    if (version === undefined) continue;
    throw coded(
      new Error(`vfio-dmabuf runs on Node.js only, and this is ${name} ${version}: run the program with node`),
      'ERR_UNSUPPORTED_RUNTIME',
    );
  }
}

requireNode(process.versions);
