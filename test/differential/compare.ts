// Compares the outcomes of a sequence on both kernels.
import type { Operation } from './operations';

/** A difference that is accepted. */
interface Known {
  reason: string;
  applies: (operation: Operation, fake: string, system: string) => boolean;
}

export const known: readonly Known[] = [
  {
    reason: "QEMU's NVMe drive does not answer in time after a reset of its bus",
    applies: ({ on, args }, fake, system) => on === 3 && args[0] === 0x3b71 && fake === '0' && system === 'ENOTTY',
  },
];

/** The index of the first outcome that differs; -1: none. */
export function firstDifference(
  operations: readonly Operation[],
  fake: readonly string[],
  system: readonly string[],
): number {
  return operations.findIndex((operation, i) => {
    const [ours = '', theirs = ''] = [fake[i], system[i]];
    return ours !== theirs && !known.some(({ applies }) => applies(operation, ours, theirs));
  });
}

/** An operation in one line. */
export function show(operation: Operation): string {
  const value = (v: unknown): string => {
    if (typeof v === 'object' && v !== null && 'slot' in v) return `fd${String(v.slot)}`;
    return typeof v === 'bigint' ? `0x${BigInt.asUintN(64, v).toString(16)}n` : `0x${(Number(v) >>> 0).toString(16)}`;
  };
  const { call, on, args, struct, data, into, node } = operation;
  const parts = [...(on === undefined ? [] : [`fd${String(on)}`]), ...args.map(value)].join(', ');
  return [
    `${call}(${parts})`,
    struct ? `struct [${struct.map(value).join(' ')}]` : '',
    data ? `data ${data.toString('hex', 0, 32)}` : '',
    node ? `${node.group ? 'group of ' : ''}${node.role}` : '',
    into === undefined ? '' : `-> fd${String(into)}`,
  ]
    .filter(Boolean)
    .join(' ');
}
