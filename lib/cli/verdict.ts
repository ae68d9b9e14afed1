// The texts and colours of verdicts.
import type { P2pVerdict } from '../pci/p2p-path';
import type { Style } from './output';

/**
 * `colour` is for lines, `cell` and `ink` for cells. Verdicts without working DMA have pale cells, so that the others
 * stand out.
 */
export const verdictLooks: Readonly<
  Record<P2pVerdict, { text: string; letter: string; style: Style; colour: string; cell: string; ink: string }>
> = {
  direct: { text: 'direct', letter: 'D', style: 'green', colour: '#2f9e5f', cell: '#2f9e5f', ink: '#ffffff' },
  'host-bridge': {
    text: 'through the host bridge',
    letter: 'H',
    style: 'yellow',
    colour: '#d9901a',
    cell: '#e5a83f',
    ink: '#3d2800',
  },
  unsupported: { text: 'not supported', letter: 'x', style: 'red', colour: '#d24646', cell: '#f9dcdc', ink: '#a32626' },
  unknown: { text: 'unknown', letter: '?', style: 'cyan', colour: '#7b8494', cell: '#e3e6eb', ink: '#4d5666' },
};

export const allVerdicts = Object.keys(verdictLooks) as P2pVerdict[];
