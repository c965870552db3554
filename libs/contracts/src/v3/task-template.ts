/** Task templates and their versions: E31 to E34. */
import type { Operation } from '../operation';

export const TASK_TEMPLATE_OPERATIONS: readonly Operation[] = [];
