/** Task templates and their versions: E31 to E34. */
import type { Register } from '../handlers';

export function registerTaskTemplate(_answer: Register): void {}
