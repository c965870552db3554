/**
 * How a reaper in another process knows that agents and clients could be heard. Each api leaves a sign of life where an agent's beat would be
 * written: in the database. An api that can't write it could not have taken a beat either, so its silence is the truth that matters
 * (docs/decisions/lease-of-a-server-that-is-away.md).
 */
import { signOff, signOfLife, type Database } from '@jobmon/entities';
import type { Logger } from '@jobmon/runtime';

/** The shortest; the database's clock counts whole seconds. */
const SIGN_SECONDS_MIN = 2;
/** A sign lasts for this part of an agent's lease: an absence that is shorter than it stays unseen. */
const SIGN_PART_OF_LEASE = 3;
/** Signs in the time that one lasts. */
const SIGNS = 3;

export interface SignsOfLife {
  readonly database: Database;
  readonly log: Logger;
  /** Names this process among all apis. */
  readonly instance: string;
  /** Of agents. */
  readonly lease_seconds: number;
}

/** Begins to leave signs; to be called when the api can be called. Answers how to end them, to be called while it still can. */
export function leaveSigns({ database, log, instance, lease_seconds }: SignsOfLife): () => Promise<void> {
  const seconds = Math.max(SIGN_SECONDS_MIN, Math.ceil(lease_seconds / SIGN_PART_OF_LEASE));
  let failed = false;
  let signing: Promise<void> | null = null;
  const sign = (): void => {
    signing ??= signOfLife(database, { service: 'api', instance, seconds })
      .then(
        () => {
          failed = false;
        },
        (error: unknown) => {
          if (!failed) log.warn({ error }, 'the api could not leave a sign of life; while it can not, no agent is given up');
          failed = true;
        },
      )
      .finally(() => {
        signing = null;
      });
  };
  sign();
  const timer = setInterval(sign, (seconds * 1_000) / SIGNS);
  return async () => {
    clearInterval(timer);
    await signing;
    await signOff(database, { service: 'api', instance }).catch((error: unknown) =>
      log.warn({ error }, 'the api could not tell that it leaves; its last sign of life ends by itself'),
    );
  };
}
