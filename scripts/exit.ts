/**
 * Exits with the status that a script's main function resolves to. If the function throws, prints a message and exits
 * with 125.
 */
export function exitWith(main: Promise<number>): void {
  main.then(
    (status) => {
      process.exitCode = status;
    },
    (error: unknown) => {
      console.error(error instanceof Error ? error.message : error);
      process.exitCode = 125;
    },
  );
}
