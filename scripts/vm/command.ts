// The arguments of npm run vm: its own options end where the command begins, whose options are not its own.
import { parseArgs } from 'node:util';

const options = {
  image: { type: 'string', short: 'k' },
  timeout: { type: 'string', short: 't', default: '600' },
  shared: { type: 'string', short: 's' },
  help: { type: 'boolean', short: 'h' },
} as const;

export function parseCommand(args: readonly string[]) {
  const { tokens } = parseArgs({ args: [...args], options, strict: false, tokens: true });
  const first = tokens.find(({ kind }) => kind !== 'option');
  const end = first?.index ?? args.length;
  const { values } = parseArgs({ args: args.slice(0, end), options });
  return { values, command: args.slice(first?.kind === 'option-terminator' ? end + 1 : end) };
}
