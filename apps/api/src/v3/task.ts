/** Tasks, bound: E13 to E15; their newest error: E17. */
import type { Register } from '../handlers';

export function registerTask(_answer: Register): void {}
