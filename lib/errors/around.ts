// The context of a failed call in which its hint looks for the cause: the call's arguments and the objects involved.

/** The arguments of a call from which its hint can tell the cause. */
export interface Arguments {
  path?: string;
  device?: string;
  group?: number;
  region?: number;
  iova?: bigint;
  offset?: bigint;
  length?: bigint;
  fd?: number;
  ranges?: number;
  size?: bigint;
  exporter?: string;
  hugePages?: string;
  pasid?: number;
  /** 'given', so that no error message contains the token. */
  vfToken?: string;
  pageRequestCookie?: number;
  irq?: string;
  action?: string;
  state?: string;
  /** The process that has the resource. */
  pid?: number;
  /** A description of what uses a socket's path. */
  holder?: string;
}

/** The properties of a mapping that hints read. */
interface MappingFacts {
  readonly iova: bigint;
  readonly length: bigint;
}

/** The properties of an interrupt index that hints read. */
interface InterruptFacts {
  readonly index: number;
  readonly name: string;
  readonly enabled: boolean;
  readonly allocated: number;
  readonly info: { count: number; noresize: boolean };
}

/**
 * The objects involved in a call. They are not part of the error, but hints read them to find the cause. The library's
 * classes have these properties; this folder does not depend on the classes.
 */
export interface Around {
  kernel?: { readonly sysfs: string };
  ioas?: {
    readonly mappings: readonly (MappingFacts & { readonly pinned: boolean })[];
    iovaRanges(): { ranges: readonly { start: bigint; last: bigint }[]; alignment: bigint };
  };
  dmaBuf?: { readonly exporterName: string; readonly exported: { readonly dead: boolean } | undefined };
  container?: {
    readonly mappings: readonly MappingFacts[];
    info(): { iovaRanges?: readonly { start: bigint; last: bigint }[] | undefined; pageSizes: readonly bigint[] };
  };
  /** Whether the device is bound to an iommufd, by any object of this process. */
  isBound?: () => boolean;
  /** The number of the device's attached PASIDs. */
  pasids?: number;
  /** The exported ranges: alternating offset and length. */
  words?: BigUint64Array;
  /** The vectors passed to the call and the eventfd numbers that the caller gave for them. */
  interrupts?: {
    index: InterruptFacts & { readonly device: { readonly interrupts: Iterable<InterruptFacts> } };
    start: number;
    count: number;
    fds: readonly number[];
  };
  /** The device's current migration state, and the states that it supports. */
  state?: () => string;
  states?: () => readonly string[];
}

/** Returns the cause, or undefined if it cannot be determined. */
export type Look = (args: Arguments, around: Around) => string | undefined;

/** Returns the hint for an error, by the call's name and the errno's name. */
export type FindHint = (call: string, code: string, args: Arguments, around: Around) => string | undefined;
