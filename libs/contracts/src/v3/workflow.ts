/** Workflows, found or made: E41 to E43. */
import type { Operation } from '../operation';

export const WORKFLOW_OPERATIONS: readonly Operation[] = [];
