// Commands that edit the kernel's command line in GRUB's configuration.

const file = '/etc/default/grub';

const apply = (edit: string): string[] => [`sed -i ${edit} ${file}`, 'update-grub', 'reboot'];

/**
 * Returns the commands that add a kernel parameter. GRUB ends a command at an unquoted semicolon, so a parameter with
 * semicolons is written in escaped quotes.
 */
export function addParameter(parameter: string): string[] {
  const word = parameter.includes(';') ? `\\\\"${parameter}\\\\"` : parameter;
  return apply(`'s|^GRUB_CMDLINE_LINUX="|&${word} |'`); // a parameter can have a path
}

/** Returns the commands that replace one parameter by another. */
export function changeParameter(from: string, to: string): string[] {
  return apply(`'s/\\b${from}\\b/${to}/'`);
}
