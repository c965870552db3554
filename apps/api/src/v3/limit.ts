/** Limits of workflows and arrays: E6, E7, E47, E48, E54. */
import type { Register } from '../handlers';

export function registerLimit(_answer: Register): void {}
