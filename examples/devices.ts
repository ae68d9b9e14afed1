// The devices that an example uses: from the command line (--ssd 03:00.0), or those of the reference machine, which the
// fake kernel and the virtual machine have.
import { parseArgs } from 'node:util';
import { addressOf, reference } from 'vfio-dmabuf/fake';

export function devices<Role extends string>(...roles: Role[]): Record<Role, string> {
  const options = Object.fromEntries(
    roles.map((role) => [role, { type: 'string' as const, default: addressOf(reference, role) }]),
  );
  return parseArgs({ options }).values as Record<Role, string>;
}

let steps = 0;

/** Prints a step of the example. */
export function step(title: string, ...details: string[]): void {
  console.log(`${String((steps += 1))}. ${title}`);
  for (const detail of details) console.log(`   ${detail}`);
}

export const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** Runs an example. */
export function run(main: () => Promise<void>): void {
  main().catch((error: unknown) => {
    console.error(error);
    process.exitCode = 1;
  });
}
