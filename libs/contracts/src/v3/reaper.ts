/** What Python reapers ask: P1 to P4. */
import type { Operation } from '../operation';

export const REAPER_OPERATIONS: readonly Operation[] = [];
