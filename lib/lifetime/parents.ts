// The classes that objects name as what they belong to: `mapping.ioas`, `region.device`.

/**
 * By name; lib/entry/given.ts fills this. So the file of a mapping needs no import of the file of its IOAS, which imports
 * that of the mapping.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- filled from above
export interface Parents {}
