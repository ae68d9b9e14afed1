// The classes that objects name as what they belong to: `mapping.ioas`, `region.device`.

/**
 * By name. Each class that makes others adds itself, in its own file:
 *
 * ```ts
 * declare module '../lifetime/parents' {
 *   interface Parents {
 *     Ioas: Ioas;
 *   }
 * }
 * ```
 *
 * So the file of a mapping needs no import of the file of its IOAS, which imports that of the mapping.
 */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- filled by the floors above
export interface Parents {}
