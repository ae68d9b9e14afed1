// Reads how much memory this process has pinned.
import { readFileSync } from 'node:fs';

/** KiB of memory that is accounted to this process as pinned. */
export function pinned(): number {
  return Number(/^VmPin:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}
