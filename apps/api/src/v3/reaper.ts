/** What Python reapers ask: P1 to P4. */
import type { Register } from '../handlers';

export function registerReaper(_answer: Register): void {}
