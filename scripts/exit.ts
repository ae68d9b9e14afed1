/** Ends the process with the status that a script's main function resolves to; 125 and a message if it throws. */
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
