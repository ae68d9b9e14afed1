// How processes and worker threads of tests load TypeScript.
const hook = require.resolve('../scripts/typescript.cjs');

/** Node's arguments for a program that is, or loads, a TypeScript file. */
export const typescript = ['--require', hook] as const;

/** A statement that lets a JavaScript program load TypeScript. The first file of a worker cannot be TypeScript. */
export const loadTypeScript = `require(${JSON.stringify(hook)});`;
