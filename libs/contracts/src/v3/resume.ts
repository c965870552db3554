/** Resume: E18, E44 to E46. */
import type { Operation } from '../operation';

export const RESUME_OPERATIONS: readonly Operation[] = [];
