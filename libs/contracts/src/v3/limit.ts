/** Limits of workflows and arrays: E6, E7, E47, E48, E54. */
import type { Operation } from '../operation';

export const LIMIT_OPERATIONS: readonly Operation[] = [];
