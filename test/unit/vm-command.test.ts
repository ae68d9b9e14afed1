// The arguments of npm run vm: options of the command are the command's.
import assert from 'node:assert/strict';
import { parseCommand } from '../../scripts/vm/command';

describe('npm run vm', () => {
  for (const [args, command, timeout] of [
    [['bash', '-c', 'ls "a b" $HOME'], ['bash', '-c', 'ls "a b" $HOME'], '600'],
    [['--', 'bash', '-c', 'x'], ['bash', '-c', 'x'], '600'],
    [['-t', '60', '--', 'bash', '-t', '1'], ['bash', '-t', '1'], '60'],
    [['--timeout=60', 'ls', '--', '-h', '--help'], ['ls', '--', '-h', '--help'], '60'],
    [['-t60', 'ls'], ['ls'], '60'],
    [[], [], '600'],
  ] as const) {
    it(JSON.stringify(args), () => {
      const parsed = parseCommand(args);
      assert.deepEqual([parsed.command, parsed.values.timeout], [command, timeout]);
    });
  }

  it('refuses options that it has not', () => {
    assert.throws(() => parseCommand(['--timeuot', '60', 'ls']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
  });
});
