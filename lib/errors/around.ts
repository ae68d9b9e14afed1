// What an error's cause is looked for in: the arguments of the call that failed, and the objects that it was about.

/** The arguments of calls that causes are told from. */
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
  /** 'given', so that nothing tells it. */
  vfToken?: string;
  pageRequestCookie?: number;
  irq?: string;
  action?: string;
  state?: string;
  /** Of a process that has something. */
  pid?: number;
  /** What has a socket's place. */
  holder?: string;
}

/** A mapping, as far as a cause is told from it. */
interface MappingFacts {
  readonly iova: bigint;
  readonly length: bigint;
}

/** A kind of interrupts of a device, as far as a cause is told from it. */
interface InterruptFacts {
  readonly index: number;
  readonly name: string;
  readonly enabled: boolean;
  readonly allocated: number;
  readonly info: { count: number; noresize: boolean };
}

/**
 * The objects that a call was about: not shown in the error, but looked at for its cause. These are plain facts, which the
 * library's classes fulfil: this floor knows none of them.
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
  /** Whether the device's file is bound to an iommufd, by whichever object. */
  isBound?: () => boolean;
  /** How many PASIDs of the device are attached. */
  pasids?: number;
  /** What was to be exported: offset and length by turns. */
  words?: BigUint64Array;
  /** Which vectors were to be set, and the numbers of the eventfds that the caller gave for them. */
  interrupts?: {
    index: InterruptFacts & { readonly device: { readonly interrupts: Iterable<InterruptFacts> } };
    start: number;
    count: number;
    fds: readonly number[];
  };
  /** The migration state that the device is in, and those that it can be put in. */
  state?: () => string;
  states?: () => readonly string[];
}

/** Says what the cause is, or undefined if it cannot be seen. */
export type Look = (args: Arguments, around: Around) => string | undefined;

/** Finds the hint for an error, by the call's name and the errno's. */
export type FindHint = (call: string, code: string, args: Arguments, around: Around) => string | undefined;
