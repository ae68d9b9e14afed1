// What a hint is, and what several calls have in common.
import type { Look } from '../errors/around';

/** What is always true; or a look for the very cause, and what is true where nothing is seen. */
export type Hint = string | readonly [look: Look, otherwise: string];

/** By call (an ioctl's name, a system call's; 'VFIO_*': any of a family, '*': any at all), and by the errno's name. */
export type Hints = Readonly<Record<string, Readonly<Record<string, Hint>>>>;

export const notBound = 'the device is not bound to an iommufd: bind() first';
