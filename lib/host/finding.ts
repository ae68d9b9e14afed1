// Finding is one result of examining the host.

/** One result of examining the host. */
export interface Finding {
  /** The subject: 'iommu', 'vfio-pci', 'iommufd', 'map-file', 'device 0000:03:00.0', … */
  check: string;
  /** `bad`: the main function does not work. `unknown`: it could not be tested because another check is bad. */
  verdict: 'good' | 'bad' | 'note' | 'unknown';
  text: string;
  /** How to fix it: commands for a root shell. */
  fix: string[];
}

export const good = (check: string, what: string): Finding => ({ check, verdict: 'good', text: what, fix: [] });
export const note = (check: string, what: string, ...fix: string[]): Finding => ({
  ...{ check, verdict: 'note', text: what, fix },
});
export const bad = (check: string, what: string, ...fix: string[]): Finding => ({
  ...{ check, verdict: 'bad', text: what, fix },
});
export const unknown = (check: string, what: string): Finding => ({ check, verdict: 'unknown', text: what, fix: [] });
