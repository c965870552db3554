/** Clusters and queues: E8 and E12. */
import type { Operation } from '../operation';

export const CLUSTER_OPERATIONS: readonly Operation[] = [];
