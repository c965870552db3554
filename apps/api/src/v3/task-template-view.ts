/** Task templates as command line and screens read them: C11 to C18 and L3. */
import { getResourceUsage } from '@jobmon/contracts';
import type { Register } from '../handlers';
import { findResourceUsage } from './resource-usage';

export function registerTaskTemplateView(answer: Register): void {
  answer(getResourceUsage, findResourceUsage);
}
