/** Task templates as command line and screens read them: C11 to C18 and L3. */
import type { Operation } from '../operation';

export const TASK_TEMPLATE_VIEW_OPERATIONS: readonly Operation[] = [];
