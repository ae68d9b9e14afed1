// The child's output for its parent: a journal with each call before it is made, in case the child crashes, and a
// report of the faults.
import { openSync, readFileSync, writeSync } from 'node:fs';

const lines = 8;
const width = 1024;
const most = 20;

/** The child's results. */
export interface Report {
  calls: number;
  succeeded: number;
  rejected: number;
  /** The functions that can be called. */
  members: string[];
  failures: string[];
}

/** The last calls in a journal, in their order. */
export function lastCalls(journal: string): string {
  const bytes = readFileSync(journal);
  return Array.from({ length: lines }, (_, i) => bytes.toString('utf8', i * width, (i + 1) * width).trim())
    .sort((a, b) => parseInt(a) - parseInt(b))
    .join('\n');
}

export class Log {
  readonly report: Report = { calls: 0, succeeded: 0, rejected: 0, members: [], failures: [] };
  readonly #journal: number;
  readonly #kinds = new Set<string>();
  #current = 'the start';

  constructor(journal: string) {
    this.#journal = openSync(journal, 'w');
  }

  /** Writes a step to the journal before it is made. */
  note(text: string): void {
    this.#current = text;
    const { calls } = this.report;
    const line = Buffer.alloc(width, ' ');
    line.write(`${calls} ${text}`.replaceAll('\n', ' '), 0, width - 1);
    line.write('\n', width - 1);
    writeSync(this.#journal, line, 0, width, (calls % lines) * width);
    this.report.calls += 1;
  }

  /** Reports a fault. Only the first fault of each `kind` is kept. */
  fail(what: string, kind: string, where = this.#current): void {
    if (this.#kinds.has(kind) || this.#kinds.size === most) return;
    this.#kinds.add(kind);
    this.report.failures.push(`${where}\n  ${what}`);
  }
}
