// The type of hints, and texts that several calls share.
import type { Look } from '../errors/around';

/** A fixed text, or a function that finds the specific cause and a text for when it finds none. */
export type Hint = string | readonly [look: Look, otherwise: string];

/**
 * Hints by call and errno name. The call is an ioctl's or system call's name; 'VFIO_*' matches a family, '*' every
 * call.
 */
export type Hints = Readonly<Record<string, Readonly<Record<string, Hint>>>>;

export const notBound = 'the device is not bound to an iommufd: bind() first';
