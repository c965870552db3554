/** Arrays: bound by clients (E1), and moved batch by batch (E2 to E5). */
import type { Operation } from '../operation';

export const ARRAY_OPERATIONS: readonly Operation[] = [];
