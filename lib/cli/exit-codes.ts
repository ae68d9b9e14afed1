// The exit codes of all commands, for --help, the manual page and the tests.

export const exitCodes = {
  done: { code: 0, meaning: 'done; doctor: the host can do it; topology of two devices: they reach each other' },
  failed: {
    code: 1,
    meaning: 'failed or refused; doctor: something is missing; topology of two devices: not supported, or unknown',
  },
  usage: { code: 2, meaning: 'wrong command line' },
} as const;

export function exitCodeLines(): string[] {
  return Object.values(exitCodes).map(({ code, meaning }) => `  ${String(code)}  ${meaning}`);
}
