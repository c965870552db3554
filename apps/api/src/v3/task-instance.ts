/** Task instances as workers and distributors report them: E19 to E23, E26 to E30, E61. */
import type { Register } from '../handlers';

export function registerTaskInstance(_answer: Register): void {}
