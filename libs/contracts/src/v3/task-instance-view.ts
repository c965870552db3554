/** Task instances as workers, distributors and people read them: E24, E25, E60. */
import type { Operation } from '../operation';

export const TASK_INSTANCE_VIEW_OPERATIONS: readonly Operation[] = [];
