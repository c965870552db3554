/** What people change by hand: C4, C23, and what they ask before: C19, C21, C22. */
import type { Register } from '../handlers';

export function registerOverride(_answer: Register): void {}
