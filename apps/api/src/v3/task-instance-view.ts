/** Task instances as workers, distributors and people read them: E24, E25, E60. */
import type { Register } from '../handlers';

export function registerTaskInstanceView(_answer: Register): void {}
