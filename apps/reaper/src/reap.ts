/** One pass of the reaper: rule by rule what is found is asked to be ended. Takes no input; the same pass twice does what one does. */
import { fixStatusInconsistency, JobmonError } from '@jobmon/contracts';
import { CLIENTS_HEARD, servedSeconds, type Database } from '@jobmon/entities';
import { send, type Messenger } from '@jobmon/messaging';
import { metrics, type Config, type Logger } from '@jobmon/runtime';
import { inconsistentWorkflows, RULES, type Finding, type Heard, type Rule } from './rules';

/** Pieces of 1,000 attempts asked for in one pass for one agent; an agent beats with at most 100,000. */
const PIECES_MAX = 100;
/** Workflow ids that one look at inconsistent ones goes through. */
const INCONSISTENT_STEP = 500;

export interface ReaperContext {
  readonly config: { readonly agent: Pick<Config['agent'], 'lease_seconds'> };
  readonly log: Logger;
  readonly messenger: Messenger;
  readonly database: Database;
  /** Of a reaper that is a process of its own: its name among others. Absent in a house, where it is away together with the api. */
  readonly instance?: string;
  /** Told of whatever could not be ended, beside the log. */
  readonly onFailure?: (failure: Failure) => void;
}

/** Something that could not be ended, and why. */
export interface Failure extends Pick<Finding, 'id'> {
  readonly of: Rule['of'];
  readonly error: JobmonError;
}

export interface Pass extends Heard {
  /** The rules that are carried out, by how often they are. */
  readonly of: readonly Rule['each'][];
}

/**
 * Answers how many attempts were ended. One agent, run, command or workflow that fails is logged and does not keep the others waiting.
 *
 * @throws when the database can't be read, or not be written for an agent: then agents could not be heard either.
 */
export async function reap(context: ReaperContext, pass: Pass): Promise<number> {
  let ended = 0;
  for (const rule of RULES) {
    if (!pass.of.includes(rule.each) || rule.spares(pass) !== null) continue;
    for (const finding of await rule.find(context.database, pass)) ended += await carryOut(context, rule, finding);
  }
  return ended;
}

async function carryOut({ messenger, log, onFailure }: ReaperContext, rule: Rule, { id, why }: Finding): Promise<number> {
  const what = `${rule.of}_id`;
  let attempts = 0;
  try {
    for (let piece = 0; piece < PIECES_MAX; piece += 1) {
      const ended = await rule.end(messenger, id);
      attempts += ended?.attempts ?? 0;
      if (ended?.remaining === true) continue;
      if (ended === null) break;
      metrics.reaped.inc({ rule: rule.name, outcome: 'ended' });
      log.warn({ [what]: id, attempts, why }, ended.said);
      break;
    }
  } catch (error) {
    log.warn({ error, [what]: id, attempts, why }, `one of the ${rule.name} could not be ended and is tried again`);
    metrics.reaped.inc({ rule: rule.name, outcome: 'failed' });
    onFailure?.({ of: rule.of, id, error: JobmonError.from(error) });
    if (rule.of === 'agent' && JobmonError.from(error).code === 'UNAVAILABLE') throw error;
  }
  return attempts;
}

/**
 * The fourth pass: mends the workflows behind a cursor that are F although all their tasks are D. Answers the cursor of the next call, 0 behind
 * the last one. A few ids at a time, so that it costs the same however many workflows are stored.
 */
export async function mendInconsistent({ messenger, log }: ReaperContext, cursor: number): Promise<number> {
  try {
    const request = { workflow_id: cursor, increase_step: INCONSISTENT_STEP };
    const { wfid, fixed } = await send(messenger, fixStatusInconsistency, request);
    if (fixed > 0) {
      metrics.reaped.inc({ rule: inconsistentWorkflows.name, outcome: 'ended' }, fixed);
      log.warn({ workflows: fixed }, 'failed workflows whose tasks are all done were mended');
    }
    return wfid;
  } catch (error) {
    log.warn({ error, workflow_id: cursor }, 'inconsistent workflows could not be looked for and are looked for again');
    return cursor;
  }
}

/** What one rule comes to at this moment. */
export interface Look {
  readonly rule: string;
  /** Why nothing is ended by this rule now, or null. */
  readonly spared: string | null;
  readonly found: readonly (Finding & { readonly of: Rule['of'] })[];
}

/** Since when agents and clients could be heard, as the signs of the apis tell it: of a reaper that is a process of its own. */
export async function readServed(database: Database): Promise<Pick<Heard, 'served_seconds' | 'clients_served_seconds'>> {
  const served_seconds = await servedSeconds(database, 'api');
  return { served_seconds, clients_served_seconds: Math.min(served_seconds, await servedSeconds(database, CLIENTS_HEARD)) };
}

/** All rules, for a pass by hand. */
export const ALL: Pass['of'] = ['pass', 'hour', 'call'];

/** What a pass would do and why. Reads only. Of each rule at most 100; a pass that was done finds what is left. */
export async function look({ database, config }: Pick<ReaperContext, 'database' | 'config'>, of = ALL): Promise<Look[]> {
  const heard = { ...(await readServed(database)), lease_seconds: config.agent.lease_seconds };
  const looks: Look[] = [];
  for (const rule of RULES.filter(({ each }) => of.includes(each))) {
    const found = await rule.find(database, heard);
    looks.push({ rule: rule.name, spared: rule.spares(heard), found: found.map((finding) => ({ ...finding, of: rule.of })) });
  }
  return looks;
}
