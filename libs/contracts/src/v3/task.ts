/** Tasks, bound: E13 to E15; their newest error: E17. */
import type { Operation } from '../operation';

export const TASK_OPERATIONS: readonly Operation[] = [];
