/** Bounds of what tasks may ask for, by themselves: whoever needs no schema does not load one. */

/** Largest figures that are taken: 100,000 cores, 1 PiB, ten years. What is larger is a slip of the unit. */
export const RESOURCES_MAX = { cores: 100_000, memory: 1_048_576, runtime: 315_360_000 } as const;
