/** Workflows, found or made: E41 to E43. */
import type { Register } from '../handlers';

export function registerWorkflow(_answer: Register): void {}
