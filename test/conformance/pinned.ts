// Reads how much memory this process has pinned.
import { readFileSync } from 'node:fs';

/** KiB of memory that this process is charged for as pinned. */
export function pinned(): number {
  return Number(/^VmPin:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}
