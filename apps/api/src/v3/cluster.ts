/** Clusters and queues: E8 and E12. */
import type { Register } from '../handlers';

export function registerCluster(_answer: Register): void {}
