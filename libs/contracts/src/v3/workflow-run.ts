/** Workflow runs: linked, kept alive, moved and ended: E56 to E59. */
import type { Operation } from '../operation';

export const WORKFLOW_RUN_OPERATIONS: readonly Operation[] = [];
