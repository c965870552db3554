/** Workflows as command line and screens read them: C20, C24 to C28. */
import type { Operation } from '../operation';

export const WORKFLOW_VIEW_OPERATIONS: readonly Operation[] = [];
