/** Task templates as command line and screens read them: C11 to C18 and L3. */
import type { Register } from '../handlers';

export function registerTaskTemplateView(_answer: Register): void {}
