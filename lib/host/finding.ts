// What a look at the host found.

/** What one look found. */
export interface Finding {
  /** What was looked at: 'iommu', 'vfio-pci', 'iommufd', 'map-file', 'device 0000:03:00.0', … */
  check: string;
  /** `bad`: the main job cannot run. `unknown`: it could not be seen, as something else is bad. */
  verdict: 'good' | 'bad' | 'note' | 'unknown';
  text: string;
  /** What to do about it: commands for a root shell, to copy. */
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
