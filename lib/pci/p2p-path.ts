// What is told of the path between two functions.
import type { PciFunction } from './function';

/**
 * The kernel's verdict on a pair of functions.
 *
 * - `direct`: the lowest common bridge routes the DMA. It does not reach the host bridge.
 * - `host-bridge`: the DMA goes through the host bridge, which the kernel trusts to route it.
 * - `unsupported`: the DMA goes through the host bridge, which the kernel does not trust. It may work, be dropped or
 *   corrupt data. The kernel's drivers do not use such a path.
 * - `unknown`: something that determines the verdict was not seen, or a device on the path does not respond.
 */
export type P2pVerdict = 'direct' | 'host-bridge' | 'unsupported' | 'unknown';

/** How to improve a path. */
export interface P2pAdvice {
  /** The advice as text. */
  text: string;
  /** The parameter for the kernel's command line, if the advice is one. */
  kernelParameter: string | undefined;
  /** The disadvantage, if any. */
  cost: string | undefined;
}

/** The path between two functions, with its verdict. */
export interface P2pPath {
  from: PciFunction;
  to: PciFunction;
  verdict: P2pVerdict;
  /**
   * The kernel's distance: the bridges up from one function and down to the other; 4 behind the same switch. undefined:
   * the place of one of them is not known.
   */
  distance: number | undefined;
  /**
   * Every function on the path, including both ends. A path through the host bridge goes up to a root port and down
   * from one.
   */
  hops: PciFunction[];
  /** The lowest common bridge; undefined: only the host bridge is common. */
  common: PciFunction | undefined;
  /** The functions whose Access Control Services redirect the DMA to the host bridge. */
  redirects: PciFunction[];
  /** The functions that may redirect it: their Access Control Services were not seen. */
  unreadable: PciFunction[];
  /** The reason for the verdict, as a sentence. */
  reason: string;
  /** The bandwidth of the slowest link on the path, in GB/s in one direction; undefined: no link reports its speed. */
  bandwidth: number | undefined;
  /** The function below the slowest link. */
  slowest: PciFunction | undefined;
  advice: P2pAdvice[];
}
