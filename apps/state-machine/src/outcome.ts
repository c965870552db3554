/** A promised reply as the outcome that the bus carries: an error is the caller's, whoever threw it. */
import { JobmonError } from '@jobmon/contracts';
import type { Outcome } from '@jobmon/messaging';

export async function outcomeOf<T>(reply: Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: await reply };
  } catch (thrown) {
    return { error: JobmonError.from(thrown).toBody() };
  }
}
