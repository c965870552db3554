/**
 * How a reaper in another process knows that agents and clients could be heard. Each api leaves a sign of life where an agent's beat would be
 * written: in the database. An api that can't write it could not have taken a beat either, so its silence is the truth that matters
 * (docs/decisions/lease-of-a-server-that-is-away.md). A client of a run is heard by the state machine, over the bus, so that the api tries that way too before
 * each sign, and leaves a second one when it was answered: for client runs a state machine or a bus that is away is a server that is away.
 */
import { JobmonError, logHeartbeat } from '@jobmon/contracts';
import { CLIENTS_HEARD, signOff, signOfLife, type Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';
import type { Logger } from '@jobmon/runtime';

/** The shortest; the database's clock counts whole seconds. */
const SIGN_SECONDS_MIN = 2;
/** A sign lasts for this part of an agent's lease: an absence that is shorter than it stays unseen. */
const SIGN_PART_OF_LEASE = 3;
/** Signs in the time that one lasts. */
const SIGNS = 3;
/** Of the sign that clients can be heard: one beats every 30 s and has 93 s, so that a shorter absence costs it no deadline. */
const CLIENTS_SIGN_SECONDS = 30;
/** No run has it: the beat for it changes nothing, and is answered by whoever could take a beat. */
const NO_RUN_ID = 2_147_483_647;

export interface SignsOfLife {
  readonly database: Database;
  readonly messenger: Messenger;
  readonly log: Logger;
  /** Names this process among all apis. */
  readonly instance: string;
  /** Of agents. */
  readonly lease_seconds: number;
}

/** Begins to leave signs; to be called when the api can be called. Answers how to end them, to be called while it still can. */
export function leaveSigns({ database, messenger, log, instance, lease_seconds }: SignsOfLife): () => Promise<void> {
  const seconds = Math.max(SIGN_SECONDS_MIN, Math.ceil(lease_seconds / SIGN_PART_OF_LEASE));
  let failed = false;
  let signing: Promise<void> | null = null;
  /** Apart from the api's own signs: to be told that nobody answers takes longer than one may be late. */
  let asking: Promise<void> | null = null;
  let leaving: Promise<void> | null = null;
  let isEnded = false;
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
    asking ??= isHeard(messenger)
      .then((is) => {
        if (!is || isEnded) return;
        return (leaving = signOfLife(database, {
          service: CLIENTS_HEARD,
          instance,
          seconds: Math.max(seconds, CLIENTS_SIGN_SECONDS),
        }));
      })
      // A database that is away is told of above.
      .catch(() => undefined)
      .finally(() => {
        asking = null;
      });
  };
  sign();
  const timer = setInterval(sign, (seconds * 1_000) / SIGNS);
  return async () => {
    clearInterval(timer);
    isEnded = true;
    await Promise.allSettled([signing, leaving]);
    await Promise.all(['api', CLIENTS_HEARD].map((service) => signOff(database, { service, instance }))).catch((error: unknown) =>
      log.warn({ error }, 'the api could not tell that it leaves; its last sign of life ends by itself'),
    );
  };
}

/** Whether a client's beat would be taken: any answer that comes from behind the bus, but that the answerer could not do it. */
async function isHeard(messenger: Messenger): Promise<boolean> {
  try {
    await send(messenger, logHeartbeat, { workflow_run_id: NO_RUN_ID, status: 'R', next_report_increment: 1 });
    return true;
  } catch (thrown) {
    return !JobmonError.from(thrown).kind.retryable;
  }
}
