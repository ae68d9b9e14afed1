/** Writes the bundles to a folder, whose content it deletes first. */
export function bundle(folder: string): Promise<void>;
