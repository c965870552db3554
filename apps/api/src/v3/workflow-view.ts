/** Workflows as command line and screens read them: C20, C24 to C28. */
import type { Register } from '../handlers';

export function registerWorkflowView(_answer: Register): void {}
