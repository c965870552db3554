/** The tasks of a workflow as a swarm reads them: E49 to E53, E55, L1, L2. */
import type { Register } from '../handlers';

export function registerWorkflowTasks(_answer: Register): void {}
