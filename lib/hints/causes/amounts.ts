// Formats numbers for hints.

export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** For example '8392704 bytes (8.0 MiB)'. */
export function amount(bytes: bigint): string {
  return `${String(bytes)} bytes (${(Number(bytes) / 2 ** 20).toFixed(1)} MiB)`;
}
