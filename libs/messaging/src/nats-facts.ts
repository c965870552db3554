/** What a NATS server says of itself to one account, for a person who looks. */
import type { Logger } from '@jobmon/runtime';
import type { NatsSettings } from './nats-connection';

export interface NatsFacts {
  readonly version: string;
  /** Whether the account may use JetStream; null when it was not asked. */
  readonly hasJetStream: boolean | null;
}

const ANSWER_MS_MAX = 5_000;

/**
 * Logs in, and asks JetStream after itself where `withJetStream`, which only the log sink's account may.
 *
 * @throws JobmonError as `openNats`.
 */
export async function natsFacts(settings: NatsSettings, log: Logger, withJetStream: boolean): Promise<NatsFacts> {
  // eslint-disable-next-line @typescript-eslint/no-require-imports -- an import() of a neighbour would have to name a built file
  const { openNats } = require('./nats-connection') as typeof import('./nats-connection');
  const connection = await openNats('jobmon-server', settings, log);
  try {
    const version = connection.info?.version ?? '';
    if (!withJetStream) return { version, hasJetStream: null };
    // It fails at once where NATS has none, and is silent where the account may not ask.
    const hasJetStream = await connection.jetstreamManager({ timeout: ANSWER_MS_MAX }).then(
      () => true,
      () => false,
    );
    return { version, hasJetStream };
  } finally {
    await connection.close();
  }
}
