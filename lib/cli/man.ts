// The command `vfio-dmabuf man`: the manual page, in roff (man(7)).
import type { Command } from 'commander';
import { exitCodes } from './exit-codes';
import { print } from './output';
import { commandsOf, optionsOf, textAfterHelp } from './command-tree';

/** Escapes backslashes, dashes, characters that are not ASCII, and control characters at the start of a line. */
const roff = (text: string) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(
      /[^\0-\x7f]/gu,
      (character) => `\\[u${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replaceAll(/^(?=[.'])/gm, '\\&');

const bold = (text: string) => `\\fB${roff(text)}\\fR`;

function item(term: string, text: string): string[] {
  return ['.TP', bold(term), roff(text)];
}

function preformatted(text: string): string[] {
  return text === '' ? [] : ['.PP', '.nf', roff(text), '.fi'];
}

function section(command: Command): string[] {
  const help = command.createHelp();
  const defaults = help.visibleOptions(command).map((option) => ({
    term: help.optionTerm(option),
    text: help.optionDescription(option),
  }));
  return [
    `.SS ${roff(command.name())}`,
    bold(`vfio-dmabuf ${command.name()} ${command.usage()}`),
    '.PP',
    roff(`${command.description()}.`),
    ...help.visibleArguments(command).flatMap((one) => item(help.argumentTerm(one), help.argumentDescription(one))),
    ...defaults.flatMap(({ term, text }) => item(term, text)),
    ...preformatted(textAfterHelp(command)),
  ];
}

const environment = {
  VFIO_DMABUF_KERNEL: 'the kernel to use: system, fake, or fake:MACHINE, which needs no hardware',
  NO_COLOR: 'if set, the output has no colours',
} as const;

export function manualPage(program: Command): string {
  const version = program.version() ?? '';
  return [
    `.TH VFIO\\-DMABUF 1 "" "vfio\\-dmabuf ${roff(version)}" "User Commands"`,
    '.SH NAME',
    `vfio\\-dmabuf \\- ${roff(program.description())}`,
    '.SH SYNOPSIS',
    `${bold('vfio-dmabuf')} \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...`,
    '.SH OPTIONS',
    ...optionsOf(program).flatMap(({ flags, description }) => item(flags, description)),
    '.SH COMMANDS',
    ...commandsOf(program).flatMap(section),
    '.SH EXIT STATUS',
    ...Object.values(exitCodes).flatMap(({ code, meaning }) => item(String(code), meaning)),
    '.SH ENVIRONMENT',
    ...Object.entries(environment).flatMap(([name, text]) => item(name, text)),
  ].join('\n');
}

export function addMan(program: Command): void {
  program
    .command('man')
    .description('print the manual page')
    .addHelpText('after', '\nExample:\n  $ vfio-dmabuf man | man -l -\n')
    .action(() => {
      print(manualPage(program));
    });
}
