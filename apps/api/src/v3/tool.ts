/** Tools and their versions: E36 to E40. */
import type { Register } from '../handlers';

export function registerTool(_answer: Register): void {}
