/** Compiles every file that has changed since it was compiled. */
export function compile(): void;
/** Whether the file has changed since it was compiled. */
export function isStale(source: string): boolean;
/** The path of a source file's JavaScript. */
export function plain(source: string): string;
