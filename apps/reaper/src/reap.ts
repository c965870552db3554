/**
 * One pass of the reaper: finds agents that were silent for a whole lease and asks for the end of what they held, piece by
 * piece; the last piece closes the agent too. Takes no
 * input, finds its work in the database, changes no status itself: the same pass twice, or two reapers at once, do what one
 * does. Whatever a pass could not do, the next one finds again.
 */
import { expireAgent } from '@jobmon/contracts';
import type { Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';
import type { Config, Logger } from '@jobmon/runtime';

/** Agents of one pass; the next pass finds the rest. */
const AGENTS_MAX = 100;
/** Pieces of 1,000 attempts asked for in one pass for one agent; an agent beats with at most 100,000. */
const PIECES_MAX = 100;

export interface ReaperContext {
  readonly config: { readonly agent: Pick<Config['agent'], 'lease_seconds'> };
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
}

/** Answers how many attempts were ended. One agent whose end fails is logged and does not keep the others waiting. */
export async function reap({ database, messenger, log }: ReaperContext): Promise<number> {
  const silent = await database.read<{ id: number }>(
    `SELECT id FROM agent WHERE ended_date IS NULL AND lease_until_date <= ${database.dialect.now} ` +
      `ORDER BY lease_until_date LIMIT ${AGENTS_MAX}`,
  );
  let ended = 0;
  for (const { id: agent_id } of silent) {
    try {
      let remaining = true;
      for (let piece = 0; remaining && piece < PIECES_MAX; piece += 1) {
        const reply = await send(messenger, expireAgent, { agent_id });
        ended += reply.ended;
        remaining = reply.remaining;
      }
    } catch (error) {
      log.warn({ error, agent_id }, 'a silent agent could not be given up and is tried again');
    }
  }
  if (ended > 0) log.warn({ agents: silent.length, attempts: ended }, 'attempts of silent agents were given up');
  return ended;
}
