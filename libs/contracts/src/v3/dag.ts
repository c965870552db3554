/** Graphs: nodes, graphs, edges: E9 to E11. */
import type { Operation } from '../operation';

export const DAG_OPERATIONS: readonly Operation[] = [];
