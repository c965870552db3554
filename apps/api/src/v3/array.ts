/** Arrays: bound by clients (E1), and moved batch by batch (E2 to E5). */
import type { Register } from '../handlers';

export function registerArray(_answer: Register): void {}
