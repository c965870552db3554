/** Resources rows: E16 and E35. */
import type { Register } from '../handlers';

export function registerTaskResources(_answer: Register): void {}
