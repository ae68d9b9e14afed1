// A row of the table of `npm run test:strangers`.
export interface Row {
  program: string;
  what: string;
  outcome: 'passed' | 'failed' | 'skipped';
  /** Why it failed or was skipped. */
  reason?: string;
}

export const passed = (program: string, what: string): Row => ({ program, what, outcome: 'passed' });
export const failed = (program: string, what: string, reason: string): Row => ({
  program,
  what,
  outcome: 'failed',
  reason,
});
export const skipped = (program: string, what: string, reason: string): Row => ({
  program,
  what,
  outcome: 'skipped',
  reason,
});
