// The kernel's command line, where GRUB starts the kernel.

const file = '/etc/default/grub';

const apply = (edit: string): string[] => [`sed -i ${edit} ${file}`, 'update-grub', 'reboot'];

/**
 * The commands that add a parameter. Semicolons end a command of GRUB's unless quoted: in the file such a parameter stands
 * in escaped quotes.
 */
export function addParameter(parameter: string): string[] {
  const word = parameter.includes(';') ? `\\\\"${parameter}\\\\"` : parameter;
  return apply(`'s/^GRUB_CMDLINE_LINUX="/&${word} /'`);
}

/** The commands that make one parameter another. */
export function changeParameter(from: string, to: string): string[] {
  return apply(`'s/\\b${from}\\b/${to}/'`);
}
