/** The tasks of a workflow as a swarm reads them: E49 to E53, E55, L1, L2. */
import type { Operation } from '../operation';

export const WORKFLOW_TASKS_OPERATIONS: readonly Operation[] = [];
