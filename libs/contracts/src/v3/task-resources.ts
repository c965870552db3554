/** Resources rows: E16 and E35. */
import type { Operation } from '../operation';

export const TASK_RESOURCES_OPERATIONS: readonly Operation[] = [];
