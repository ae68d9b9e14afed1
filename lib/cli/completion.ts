// The command `vfio-dmabuf completion`: scripts that complete command lines in bash, zsh and fish.
import { Argument, type Command } from 'commander';
import { print } from './output';
import { argumentOf, commandsOf, flagsOf, optionsOf, valueOf, type Value } from './command-tree';

/** Prints the addresses of the PCI devices, without the domain 0000 unless the word begins with it. */
const listAddresses = {
  posix: 'command ls /sys/bus/pci/devices 2>/dev/null',
  short: "command ls /sys/bus/pci/devices 2>/dev/null | command sed 's/^0000://'",
} as const;

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

function bash(program: Command): string {
  const commands = commandsOf(program);
  const names = commands.map((command) => command.name());
  const all = [program, ...commands];
  const title = (command: Command) => (command === program ? '' : command.name());
  const values = all.flatMap((command) =>
    optionsOf(command).flatMap((option) => {
      const value = valueOf(option);
      if (!value) return [];
      const patterns = flagsOf(option).map((flag) => `${title(command)}:${flag}`);
      return [`        ${patterns.join('|')}) ${bashValue(value)} ;;`];
    }),
  );
  const words = all.map((command) => {
    const own = command === program ? names : command.registeredArguments.flatMap((one) => argumentOf(one).choices);
    const flags = optionsOf(command).flatMap(flagsOf);
    const takesAddress = command.registeredArguments.some((one) => argumentOf(one).kind === 'address');
    const addresses = takesAddress ? ' addresses=1' : '';
    return `        ${quote(title(command))}) words=${quote([...own, ...flags].join(' '))}${addresses} ;;`;
  });
  return `# bash completion of vfio-dmabuf. In ~/.bashrc: source <(vfio-dmabuf completion bash)
_vfio_dmabuf() {
    local line=\${COMP_LINE:0:COMP_POINT} current='' command='' words='' addresses='' word
    local -a before
    # Not COMP_WORDS, in which the colons of PCI addresses separate words.
    read -ra before <<<"$line"
    if [[ $line != *[[:space:]] ]]; then
        current=\${before[-1]}
        unset 'before[-1]'
    fi
    for word in "\${before[@]:1}"; do
        case $word in
        ${names.join('|')})
            command=$word
            break
            ;;
        esac
    done
    case $command:\${before[-1]} in
${values.join('\n')}
    esac
    case $command in
${words.join('\n')}
    esac
    if [[ $addresses && $current != -* ]]; then
        if [[ $current == 0000* ]]; then
            words=$(${listAddresses.posix})
        else
            words=$(${listAddresses.short})
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    # bash replaces only what follows the last colon.
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        COMPREPLY=("\${COMPREPLY[@]#"\${current%"\${current##*:}"}"}")
    fi
}
complete -F _vfio_dmabuf vfio-dmabuf`;
}

function bashValue({ kind, choices }: Value): string {
  if (kind === 'choice') return `COMPREPLY=($(compgen -W ${quote(choices.join(' '))} -- "$current")); return`;
  if (kind === 'other' || kind === 'address') return 'return';
  const flag = kind === 'folder' ? '-d' : '-f';
  return `compopt -o filenames; COMPREPLY=($(compgen ${flag} -- "$current")); return`;
}

/** Quotes a description within `[…]` and a message of zsh's _arguments. */
const zshText = (text: string) => text.replaceAll(/[[\]:\\]/g, '\\$&');

function zshAction({ kind, choices }: Value): string {
  const actions = { file: '_files', folder: '_files -/', address: '_vfio_dmabuf_addresses', other: ' ' };
  return kind === 'choice' ? `(${choices.join(' ')})` : actions[kind];
}

function zsh(program: Command): string {
  const commands = commandsOf(program);
  const specs = (command: Command): string[] => [
    ...optionsOf(command).map((option) => {
      const value = valueOf(option);
      const flags = flagsOf(option);
      const name = zshText(flags.at(-1)?.replace(/^-+/, '') ?? '');
      const tail = `[${zshText(option.description)}]${value ? `:${name}:${zshAction(value)}` : ''}`;
      const repeated = Array.isArray(option.defaultValue) ? '*' : '';
      if (flags.length === 1 || repeated) return flags.map((flag) => quote(`${repeated}${flag}${tail}`)).join(' ');
      return `${quote(`(${flags.join(' ')})`)}{${flags.join(',')}}${quote(tail)}`;
    }),
    ...command.registeredArguments.map((argument) => {
      const place = argument.variadic ? '*' : '';
      return quote(`${place}:${zshText(argument.name())}:${zshAction(argumentOf(argument))}`);
    }),
  ];
  const cases = commands.map(
    (command) => `    ${command.name()}) _arguments -s ${specs(command).join(' \\\n            ')} ;;`,
  );
  const described = commands.map((command) => quote(`${command.name()}:${zshText(command.description())}`));
  return `#compdef vfio-dmabuf
# zsh completion of vfio-dmabuf. In ~/.zshrc, after compinit: source <(vfio-dmabuf completion zsh)
_vfio_dmabuf_addresses() {
    local -a addresses
    if [[ $PREFIX == 0000* ]]; then
        addresses=(\${(f)"$(${listAddresses.posix})"})
    else
        addresses=(\${(f)"$(${listAddresses.short})"})
    fi
    compadd -a addresses
}
_vfio_dmabuf() {
    local state line
    local -a commands=(
        ${described.join('\n        ')}
    )
    _arguments -C ${[...specs(program), quote('1:command:->command'), quote('*::argument:->argument')].join(' \\\n        ')}
    case $state in
    command) _describe command commands ;;
    argument)
        case $words[1] in
    ${cases.join('\n    ')}
        esac
        ;;
    esac
}
if [[ $funcstack[1] == _vfio_dmabuf ]]; then
    _vfio_dmabuf "$@"
else
    compdef _vfio_dmabuf vfio-dmabuf
fi`;
}

const fishText = (text: string) => `'${text.replaceAll(/['\\]/g, '\\$&')}'`;

function fish(program: Command): string {
  const commands = commandsOf(program);
  const line = (...parts: string[]) => ['complete -c vfio-dmabuf', ...parts].filter((part) => part !== '').join(' ');
  const inCommand = (command: Command) =>
    command === program
      ? '-n __fish_use_subcommand'
      : `-n ${fishText(`__fish_seen_subcommand_from ${command.name()}`)}`;
  const valueText = (value: Value | undefined) => {
    if (!value) return '';
    const files = { file: '-r -F', folder: "-x -a '(__fish_complete_directories)'", address: '-x', other: '-x' };
    return value.kind === 'choice' ? `-x -a ${fishText(value.choices.join(' '))}` : files[value.kind];
  };
  const optionLines = (command: Command) =>
    optionsOf(command).map((option) => {
      const [long] = flagsOf(option).filter((flag) => flag.startsWith('--'));
      const [short] = flagsOf(option).filter((flag) => /^-[^-]/.test(flag));
      return line(
        inCommand(command),
        short === undefined ? '' : `-s ${short.slice(1)}`,
        long === undefined ? '' : `-l ${long.slice(2)}`,
        valueText(valueOf(option)),
        `-d ${fishText(option.description)}`,
      );
    });
  const argumentLines = (command: Command) =>
    command.registeredArguments.flatMap((argument) => {
      const { kind, choices } = argumentOf(argument);
      if (kind === 'choice') return [line(inCommand(command), `-a ${fishText(choices.join(' '))}`)];
      return kind === 'address' ? [line(inCommand(command), "-a '(__vfio_dmabuf_addresses)'")] : [];
    });
  return `# fish completion of vfio-dmabuf. vfio-dmabuf completion fish > ~/.config/fish/completions/vfio-dmabuf.fish
function __vfio_dmabuf_addresses
    if string match -q '0000*' -- (commandline -ct)
        ${listAddresses.posix}
    else
        ${listAddresses.short}
    end
end
${[
  line('-f'),
  ...optionLines(program),
  ...commands.map((command) =>
    line(inCommand(program), `-a ${command.name()}`, `-d ${fishText(command.description())}`),
  ),
  ...commands.flatMap((command) => [...optionLines(command), ...argumentLines(command)]),
].join('\n')}`;
}

const shells = { bash, zsh, fish } as const;

export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print a script that completes command lines of vfio-dmabuf')
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(shells)))
    .addHelpText(
      'after',
      `
Examples:
  $ source <(vfio-dmabuf completion bash)      # in ~/.bashrc
  $ source <(vfio-dmabuf completion zsh)       # in ~/.zshrc, after compinit
  $ vfio-dmabuf completion fish > ~/.config/fish/completions/vfio-dmabuf.fish
`,
    )
    .action((shell: keyof typeof shells) => {
      print(shells[shell](program));
    });
}
