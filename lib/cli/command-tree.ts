// Reads commander's tree of commands, for completion and the manual page.
import type { EventEmitter } from 'node:events';
import type { Argument, Command, Option } from 'commander';

/** The commands, without the automatic command `help`. */
export function commandsOf(program: Command): readonly Command[] {
  return program.commands;
}

/** The options as help shows them, with --help and --version. */
export function optionsOf(command: Command): Option[] {
  return command.createHelp().visibleOptions(command);
}

/** What a value is, which decides how it is completed: by the placeholder in angle brackets. */
export type ValueKind = 'file' | 'folder' | 'address' | 'choice' | 'other';

const kinds: Readonly<Record<string, ValueKind>> = {
  file: 'file',
  path: 'file',
  'name|file': 'file',
  folder: 'folder',
  address: 'address',
};

export interface Value {
  kind: ValueKind;
  choices: readonly string[];
}

/** The value of an option; undefined: it has none. */
export function valueOf({ flags, argChoices }: Option): Value | undefined {
  const placeholder = /[<[]([^>\].]+)/.exec(flags)?.[1];
  return placeholder === undefined ? undefined : toValue(placeholder, argChoices);
}

/** The values of a command's arguments. */
export function argumentOf(argument: Argument): Value {
  return toValue(argument.name(), argument.argChoices);
}

function toValue(placeholder: string, choices: readonly string[] | undefined): Value {
  if (choices !== undefined) return { kind: 'choice', choices };
  return { kind: kinds[placeholder] ?? 'other', choices: [] };
}

/** The flags of an option, short before long. */
export function flagsOf({ short, long }: Option): string[] {
  return [short, long].filter((flag) => flag !== undefined);
}

/** The text that a command adds to its help. */
export function textAfterHelp(command: Command): string {
  const parts: string[] = [];
  // The types leave out that a command is an EventEmitter.
  (command as unknown as EventEmitter).emit('afterHelp', {
    error: false,
    command,
    write: (text: string) => parts.push(text),
  });
  return parts.join('').trim();
}
