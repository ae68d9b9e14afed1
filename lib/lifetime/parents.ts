// The types of the classes that objects refer to as their parents: `mapping.ioas`, `region.device`.

/**
 * The classes by name. lib/entry/given.ts adds the members. This avoids import cycles: mapping.ts refers to the IOAS
 * class, and ioas.ts imports mapping.ts.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- filled from above
export interface Parents {}
