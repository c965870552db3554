/** Graphs: nodes, graphs, edges: E9 to E11. */
import type { Register } from '../handlers';

export function registerDag(_answer: Register): void {}
