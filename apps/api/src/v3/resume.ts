/** Resume: E18, E44 to E46. */
import type { Register } from '../handlers';

export function registerResume(_answer: Register): void {}
