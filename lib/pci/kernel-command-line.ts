// Reads the kernel's command line, and finds the mistakes in what concerns peer-to-peer DMA and IOMMUs. Linux ignores
// what it does not understand, with no more than a line in its log.
import { toMatcher } from './device-pattern';
import type { PciFunction } from './function';

/** A mistake on the kernel's command line. */
export interface CommandLineMistake {
  /** The option as it is written. */
  option: string;
  /** What Linux makes of it, and what was probably meant. */
  text: string;
}

/** The options of `pci=` (drivers/pci/pci.c, arch/x86/pci/common.c and others, Linux 7.3). With '=': they have a value. */
const pciOptions = [
  ...['nomsi', 'noats', 'noaer', 'earlydump', 'realloc', 'realloc=', 'nodomains', 'noari', 'notph', 'cbiosize='],
  ...['cbmemsize=', 'resource_alignment=', 'ecrc=', 'hpiosize=', 'hpmmiosize=', 'hpmmioprefsize=', 'hpmemsize='],
  ...['hpbussize=', 'pcie_bus_tune_off', 'pcie_bus_safe', 'pcie_bus_perf', 'pcie_bus_peer2peer', 'pcie_scan_all'],
  ...['disable_acs_redir=', 'config_acs='],
  ...['off', 'bfsort', 'nobfsort', 'bios', 'nobios', 'biosirq', 'conf1', 'conf2', 'noacpi', 'mmconf', 'nommconf'],
  ...['irqmask=', 'usepirqmask', 'assign-busses', 'use_crs', 'nocrs', 'use_e820', 'no_e820', 'routeirq'],
  ...['skip_isa_align', 'noioapicquirk', 'ioapicreroute', 'noioapicreroute', 'check_enable_amd_mmconf', 'rom'],
  ...['norom', 'nobar', 'lastbus=', 'pirqaddr=', 'big_root_window', 'nomio', 'norid', 'force_floating', 'firmware'],
];

/** The values of options that are often written with a value that Linux does not know. */
const values: Readonly<Record<string, { known: readonly string[]; hint: string }>> = {
  amd_iommu: {
    known: [
      ...['fullflush', 'force_enable', 'off', 'force_isolation', 'pgtbl_v1', 'pgtbl_v2', 'irtcachedis'],
      ...['nohugepages', 'v2_pgsizes_only'],
    ],
    hint: "AMD's IOMMU is on unless the firmware has it off",
  },
  intel_iommu: {
    known: ['on', 'off', 'igfx_off', 'forcedac', 'strict', 'sp_off', 'sm_on', 'sm_off', 'tboot_noforce'],
    hint: 'intel_iommu=on switches it on',
  },
  iommu: {
    known: [
      ...['off', 'force', 'noforce', 'biomerge', 'panic', 'nopanic', 'merge', 'nomerge', 'forcesac', 'allowdac'],
      ...[
        'nodac',
        'usedac',
        'soft',
        'pt',
        'nopt',
        'memaper',
        'noagp',
        'noaperture',
        'fullflush',
        'nofullflush',
        'strict',
      ],
    ],
    hint: 'intel_iommu=on switches on Intel’s IOMMU; AMD’s is on',
  },
};

const accessWord = /acs/i;
/** Words of other parts of the kernel's command line in which these letters are a coincidence. */
const harmlessWord = /^(?:root|rd\.|systemd\.|console|BOOT_IMAGE|initrd|init)/;
const addressLike = /^(?:[0-9a-f]+:)?[0-9a-f]+:[0-9a-f]+\.[0-7]/i;

/** Splits the line at spaces outside of quotes, without the quotes, as the kernel does. */
function words(line: string): string[] {
  return [...line.matchAll(/(?:"[^"]*"|[^\s"])+/g)].map(([word]) => word.replaceAll('"', ''));
}

function pciOptionsOf(line: string): string[] {
  return words(line)
    .filter((word) => word.startsWith('pci='))
    .flatMap((word) => word.slice('pci='.length).split(','))
    .filter((option) => option !== '');
}

const redirect = 'disable_acs_redir=';
const configure = 'config_acs=';

/** Returns the devices that the line names for `disable_acs_redir`. Of several such options, Linux uses the last. */
export function redirectionOff(line: string): string[] {
  const option = pciOptionsOf(line)
    .filter((found) => found.startsWith(redirect))
    .at(-1);
  return (option?.slice(redirect.length).split(';') ?? []).filter((pattern) => pattern !== '');
}

const isKnown = (option: string): boolean =>
  pciOptions.some((known) => (known.endsWith('=') ? option.startsWith(known) : option === known));

function* unknownOptions(line: string): Generator<CommandLineMistake> {
  const options = pciOptionsOf(line);
  for (const [i, option] of options.entries()) {
    if (isKnown(option)) continue;
    const list = options.slice(0, i).find((found) => found.startsWith(redirect) || found.startsWith(configure));
    const text =
      list !== undefined && (addressLike.test(option) || option.startsWith('pci:') || option.includes('@'))
        ? `Linux takes it for an option of pci= and ignores it: ${list.split('=')[0] ?? ''} separates devices by ';', not by ','`
        : 'Linux has no such option of pci=, and ignores it';
    yield { option, text };
  }
  for (const word of words(line)) {
    const name = word.split('=')[0] ?? '';
    if (name === 'pcie_acs_override') {
      const text =
        'only patched kernels have it; it makes them believe in an isolation that the hardware does not have, and does not ' +
        'change how DMA is routed';
      yield { option: word, text };
    } else if (name !== 'pci' && accessWord.test(name) && !harmlessWord.test(name)) {
      const hint = isKnown(`${name}=`)
        ? `it is an option of pci=: write pci=${word}`
        : 'pci=disable_acs_redir=… exists';
      yield { option: word, text: `Linux has no such option, and ignores it; ${hint}` };
    }
  }
}

function* unknownValues(line: string, isX86: boolean): Generator<CommandLineMistake> {
  for (const word of isX86 ? words(line) : []) {
    const [name = '', value = ''] = word.split('=');
    const { known, hint } = (Object.hasOwn(values, name) ? values[name] : undefined) ?? {};
    for (const part of known ? value.split(',') : []) {
      if (!known?.some((found) => part.startsWith(found))) {
        yield { option: word, text: `${name} has no value '${part}', and Linux ignores it: ${hint ?? ''}` };
      }
    }
  }
}

/** `flags`: whether each entry has flags before its device, as config_acs has. */
function* wrongDevices(list: readonly string[], functions: readonly PciFunction[], flags: boolean) {
  for (const [i, entry] of list.entries()) {
    const [mask, pattern] = flags ? [entry.split('@')[0] ?? '', entry.split('@')[1] ?? ''] : ['', entry];
    const matches = flags && !/^[01x]{1,10}$/i.test(mask) ? undefined : toMatcher(pattern);
    if (!matches) {
      const more = list.length - i - 1;
      const behind = more > 0 ? `, and the ${String(more)} behind it` : '';
      yield { option: entry, text: `Linux cannot parse it, and ignores it${behind}` };
      return;
    }
    const found = functions.filter(matches);
    const able = found.filter(({ acs }) => acs.state !== 'absent');
    const still = able.filter(({ acs }) => !flags && acs.state === 'present' && acs.redirects);
    const addresses = still.map(({ address }) => address).join(', ');
    if (found.length === 0)
      yield { option: entry, text: 'no device of this host matches it: it is gone, or has another address' };
    else if (able.length === 0)
      yield { option: entry, text: 'it has no Access Control Services, so that nothing changes' };
    else if (still.length > 0)
      yield { option: entry, text: `${addresses} redirects all the same: something switched it on later` };
  }
}

function* lists(line: string, functions: readonly PciFunction[]): Generator<CommandLineMistake> {
  for (const name of [redirect, configure]) {
    const options = pciOptionsOf(line).filter((option) => option.startsWith(name));
    for (const option of options.slice(0, -1)) {
      yield { option, text: `Linux uses only the last ${name.slice(0, -1)}: put all devices in one, with ';' between` };
    }
    const list = (options.at(-1)?.slice(name.length).split(';') ?? []).filter((entry) => entry !== '');
    yield* wrongDevices(list, functions, name === configure);
  }
}

/**
 * Returns the mistakes on a kernel's command line, in what concerns peer-to-peer DMA and IOMMUs. `functions`: those of
 * the host. @internal
 */
export function commandLineMistakes(
  line: string,
  functions: readonly PciFunction[],
  isX86: boolean,
): CommandLineMistake[] {
  return [...unknownOptions(line), ...lists(line, functions), ...unknownValues(line, isX86)];
}
