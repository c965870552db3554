/** Tools and their versions: E36 to E40. */
import type { Operation } from '../operation';

export const TOOL_OPERATIONS: readonly Operation[] = [];
