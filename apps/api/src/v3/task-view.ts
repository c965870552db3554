/** Tasks as command line and screens read them: C1 to C3, C5, C6, C9, C10. */
import type { Register } from '../handlers';

export function registerTaskView(_answer: Register): void {}
