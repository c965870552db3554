/**
 * The agent: leases queued attempts from the api, has cluster plug-ins run them, and reports. It speaks HTTP only, and belongs
 * to the user who started it.
 *
 * It is in one of these modes:
 *
 * - *joining*: it has no id that counts. Entered at the start and whenever a term of service ended. It registers, repeating for
 *   ever with a pause of at most 5 s. The answer names the attempts that are this agent's: those it does not know are adopted,
 *   those it knows and that are not named were given away and are killed; what else lies in its state directory is cleared.
 *   Then it serves.
 * - *serving*: one term under one agent id. Long polls ask for what has room, and another one for orders; a beat goes out
 *   every third of the lease; reports leave one message at a time. The term ends when a beat finds the id unknown, when the
 *   lease was not renewed for two thirds of its length, or when a lease call got no answer: the server may have given
 *   attempts in it, and registering again names them. Of several apis it ends also when a beat got no answer: the next one takes the agent.
 * - *stopped*: final. Running commands are left to their launchers; the next agent in this state directory adopts them. What
 *   was not reported is found in its folder then.
 *
 * While it *drains*, by order of the server or of `drain`, it asks for nothing; with its last attempt reported it leaves for good.
 *
 * In every mode but *stopped*: when the lease was not renewed for two thirds of its length, all commands are killed, since
 * the server gives them to others when the whole of it has passed (design rule 5.11). A server that is provably away gives nothing to
 * anybody, so its absence renews the lease (`server-away.ts`). Commands report into the outbox whatever
 * the mode; nothing is leased while it is full, and a report leaves it only when the server has answered it in the same term.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection, isServerUnreachable, type Server } from '@jobmon/client';
import {
  beatAgent,
  drainAgent,
  JobmonError,
  leaseAssignments,
  leaveAgent,
  orderAgent,
  registerAgent,
  reportAttempts,
  type ClusterRoom,
  type ReplyOf,
} from '@jobmon/contracts';
import { Attempts, type AttemptsSettings } from './attempts';
import { GUARD_MS, LeaseGuard } from './lease-guard';
import { holdStateDirectory } from './state-directory';

/** Longest pause between two tries of anything that is tried for ever. */
const PAUSE_MS_MAX = 5_000;
/** A long poll is answered after so many seconds at the latest; more makes proxies nervous. */
const POLL_WAIT_SECONDS = 20;
/** What a call may take beyond what the server was asked to wait: the 6 s that an api waits for a state machine, and some. Then a new connection may lead to another api. */
const ANSWER_MS_MAX = 8_000;
/** Lease polls at one time: the one that waits, and the one that takes its place when there is more room. */
const POLLS_MAX = 2;
/** So many refusals to let the agent leave, and it joins again to learn what it still holds. */
const LEAVES_MAX = 5;
/** Reports are given so long to leave when the agent stops; what stays is found in the folders at the next start. */
const FAREWELL_MS_MAX = 3_000;

/** Why commands are ended when the server knows the agent no more. */
const GIVEN_UP = 'the server has given the attempt up, since it had not heard of its agent';

export interface AgentSettings extends Omit<AttemptsSettings, 'onNews' | 'mayStart'> {
  /** Where the api answers. Asked at each try to join: a server that was started anew may have another address and token. */
  readonly findApi: () => Promise<Server>;
  readonly any_user: boolean;
  readonly user: string;
  readonly version: string;
  /** Speaks to a person beside the log: sentences about how the agent stands. */
  readonly say?: (sentence: string) => void;
  /**
   * Called when the server refuses the agent, which has never joined before, for a cause that waiting does not cure: a wrong token, a
   * cluster that does not exist. The agent has ended then. Absent: it goes on asking.
   */
  readonly onRefused?: (error: JobmonError) => void;
  /** Called when the agent has left because it was drained. Absent: a drained agent stays, with nothing to do, until it is restored. */
  readonly onLeft?: () => void;
}

/** One stretch of service under one agent id. */
interface Term {
  readonly agent_id: number;
  readonly lease_seconds: number;
  readonly over: AbortController;
}

export class Agent {
  /** To the api as it was found at the last try to join. */
  connection!: Connection;
  private attempts!: Attempts;
  private readonly lease = new LeaseGuard();
  private readonly stopping = new AbortController();
  /** Wakes whoever waits for room, for reports, or for the end. */
  private readonly waiters = new Set<() => void>();
  private releaseFolder: (() => void) | null = null;
  private loop: Promise<void> = Promise.resolve();
  private stopped: Promise<void> | null = null;
  /** The one that it serves, or served last. */
  term: Term | null = null;
  /** Terms in a row that ended by a failed lease call. */
  private failedTerms = 0;
  private hasJoined = false;
  /** It has left, or was refused: it does not join again. */
  private isOver = false;
  /** What the server has ordered, and what `drain` has. */
  private isDrainOrdered = false;
  private isLeaving = false;
  private setAsideReason: string | null = null;
  private openPolls = 0;

  constructor(private readonly settings: AgentSettings) {}

  /**
   * Takes hold of the state directory and begins to join. Throws JobmonError when the directory can't be used or is
   * another living agent's; a server that is away is waited for.
   */
  start(): void {
    const { state_directory, log } = this.settings;
    this.releaseFolder = holdStateDirectory(state_directory);
    this.attempts = new Attempts({ ...this.settings, onNews: () => this.wake(), mayStart: () => !this.lease.isOverdue });
    this.loop = this.run().catch((error: unknown) => log.error({ error }, 'the agent has stopped by a defect of its own'));
  }

  /** Attempts that have not ended. */
  get running(): number {
    return this.attempts.running;
  }

  /**
   * Takes nothing new from now on and leaves when everything that runs has ended and is reported; `onLeft` is called then. The server
   * is told, so that views show it, if it answers.
   */
  drain(reason: string): void {
    if (this.isLeaving) return;
    this.isLeaving = true;
    this.settings.log.info(
      { running: this.running },
      'the agent drains: it takes nothing new and leaves when its commands have ended',
    );
    this.wake();
    const { term } = this;
    if (term === null) return;
    const request = { agent_id: term.agent_id, user: this.settings.user, reason };
    const options = { signal: this.stopping.signal, timeout_ms: ANSWER_MS_MAX, tries_max: 1 };
    this.connection.send(drainAgent, request, options).catch(() => undefined);
  }

  private get isDraining(): boolean {
    return this.isLeaving || this.isDrainOrdered;
  }

  /** Reports what can be reported within three seconds and lets go of everything else. Commands that run go on. */
  stop(): Promise<void> {
    return (this.stopped ??= this.letGo());
  }

  private async letGo(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.loop;
    // A start that failed has nothing to let go of.
    const attempts = this.attempts as Attempts | undefined;
    if (attempts === undefined) return this.releaseFolder?.();
    const { running } = attempts;
    attempts.close();
    this.releaseFolder?.();
    const { log } = this.settings;
    if (running > 0) log.info({ running }, 'running commands go on without the agent; its next start adopts them');
    if (attempts.outbox.size > 0) log.info({ unreported: attempts.outbox.size }, 'ended commands are reported at the next start');
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    const guard = setInterval(() => this.checkLease(), GUARD_MS);
    let term: Term | null = null;
    try {
      while (!signal.aborted && !this.isOver) {
        term = await this.join();
        if (term !== null) await this.serve(term);
      }
    } finally {
      clearInterval(guard);
    }
    if (term !== null && !this.isOver) await this.sayFarewell(term);
  }

  /** Registers until the server answers. Null when the agent is stopped or refused before. */
  private async join(): Promise<Term | null> {
    const { hostname, user, any_user, clusters, cores, memory_gib, state_directory, version, log } = this.settings;
    const request = {
      hostname,
      user,
      any_user,
      clusters: Object.keys(clusters),
      state_directory,
      process_id: process.pid,
      version,
      cores,
      memory_gib,
    };
    for (let tried = 1; !this.stopping.signal.aborted; tried++) {
      const sent_ms = performance.now();
      try {
        // Of several addresses the one that the last call has left it at.
        const first = (this.connection as Connection | undefined)?.url;
        this.connection = new Connection({ ...(await this.settings.findApi()), first });
        const options = {
          signal: this.stopping.signal,
          timeout_ms: this.lease.patience_ms(this.connection.addresses, ANSWER_MS_MAX),
          tries_max: 1,
        };
        const full = { ...request, has_joined_before: this.hasJoined };
        const reply = await this.connection.send(registerAgent, full, options);
        const { agent_id, lease_seconds, adopted } = reply;
        this.hasJoined = true;
        this.lease.begin(lease_seconds, sent_ms);
        await this.attempts.takeOver(adopted, this.lease.length_ms, this.stopping.signal);
        log.info({ agent_id, adopted: adopted.length }, 'the agent has joined');
        this.settings.say?.(
          `Agent ${agent_id} serves ${request.clusters.join(', ')} at ${this.connection.url} with ${cores} cores and ` +
            `${Math.round(memory_gib * 10) / 10}G, ${any_user ? 'for everybody' : `for ${reply.user ?? user}`}.`,
        );
        return { agent_id, lease_seconds, over: new AbortController() };
      } catch (thrown) {
        if (this.stopping.signal.aborted) return null;
        this.lease.heedFailure(thrown, sent_ms);
        const error = JobmonError.from(thrown);
        if (!this.hasJoined && !error.kind.retryable && this.settings.onRefused !== undefined) {
          this.isOver = true;
          this.settings.onRefused(error);
          return null;
        }
        if (this.isLeaving && this.attempts.isEmpty && this.settings.onLeft !== undefined) {
          // Nothing is left that the server would have to hear.
          this.isOver = true;
          this.settings.onLeft();
          return null;
        }
        // Said once and then every minute or so: in a house the api starts beside the agent.
        if (tried % 12 === 2) {
          log.warn({ error: error.message }, 'the server does not take the agent yet; it goes on asking');
          this.settings.say?.(`Waiting for the server: ${error.message}.`);
        }
      }
      await this.pause(tried);
    }
    return null;
  }

  /** Runs the loops of a term until one of them ends it. */
  private async serve(term: Term): Promise<void> {
    const end = () => {
      term.over.abort();
      this.wake();
    };
    this.stopping.signal.addEventListener('abort', end, { once: true });
    this.term = term;
    if (this.stopping.signal.aborted) end();
    const loops = [this.beatFor(term), this.reportFor(term), this.leaseFor(term), this.obeyFor(term), this.leaveFor(term)];
    await Promise.allSettled(loops.map((loop) => loop.finally(end)));
    this.stopping.signal.removeEventListener('abort', end);
  }

  /**
   * Keeps a long poll open while there is room. When there is more room than it said, another one takes its place: the server
   * answers the one before. A poll is never taken back here, since its answer may be on the way.
   */
  private async leaseFor(term: Term): Promise<void> {
    const { signal } = term.over;
    const open = new Set<Promise<void>>();
    let asked: Record<string, ClusterRoom> = {};
    for (let number = 1; !signal.aborted;) {
      const wanted = this.isDraining ? {} : this.attempts.room();
      // An agent that drains ends its open poll by one that wants nothing.
      const isDue = open.size === 0 ? hasMore(wanted, {}) : hasMore(wanted, asked) || (this.isDraining && hasMore(asked, {}));
      if (!isDue || open.size >= POLLS_MAX) {
        await this.news(signal);
        continue;
      }
      asked = wanted;
      const poll = this.poll(term, wanted, number++).finally(() => {
        open.delete(poll);
        this.openPolls = open.size;
        this.wake();
      });
      open.add(poll);
      this.openPolls = open.size;
    }
    await Promise.allSettled(open);
  }

  /** One long poll. One without an answer ends the term: it may have given attempts, and registering again names them. */
  private async poll(term: Term, wanted: Record<string, ClusterRoom>, number: number): Promise<void> {
    const { signal } = term.over;
    const sent_ms = performance.now();
    const wait_seconds = hasMore(wanted, {}) ? POLL_WAIT_SECONDS : 0;
    const failed_tasks = this.attempts.failedStarts.task_ids;
    const request = { agent_id: term.agent_id, wanted, number, failed_tasks, wait_seconds };
    const timeout_ms = POLL_WAIT_SECONDS * 1_000 + ANSWER_MS_MAX;
    try {
      const { assignments } = await this.connection.send(leaseAssignments, request, { signal, timeout_ms, tries_max: 1 });
      if (signal.aborted) return; // The next registration names what it gave.
      this.failedTerms = 0;
      this.lease.renew(sent_ms);
      // An answer that lay there while this process was frozen may be of attempts that others have by now.
      if (this.lease.isOverdue) return term.over.abort();
      this.attempts.start(assignments);
    } catch (thrown) {
      if (signal.aborted) return;
      this.lease.heedFailure(thrown, sent_ms);
      this.settings.log.info({ error: JobmonError.from(thrown).message }, 'a lease call failed; the agent joins again');
      await this.pause(++this.failedTerms, signal);
      term.over.abort();
    }
  }

  /** Keeps a long poll open for orders, whatever else the agent does: a kill reaches it within a second. */
  private async obeyFor(term: Term): Promise<void> {
    const { signal } = term.over;
    for (let failed = 0; !signal.aborted;) {
      const sent_ms = performance.now();
      try {
        const { agent_id } = term;
        const { killing } = this.attempts;
        const request = { agent_id, killing, is_draining: this.isDrainOrdered, wait_seconds: POLL_WAIT_SECONDS };
        const timeout_ms = POLL_WAIT_SECONDS * 1_000 + ANSWER_MS_MAX;
        const orders = await this.connection.send(orderAgent, request, { signal, timeout_ms, tries_max: 1 });
        failed = 0;
        if (signal.aborted) return;
        if (!orders.is_known) return this.endAll(GIVEN_UP);
        this.heed(orders);
        // What is ordered of attempts that do not run here is settled by their reports, or by the next term.
        if (!this.attempts.obey(orders.kill) && orders.kill.length > 0) await rest(GUARD_MS, signal);
      } catch (thrown) {
        if (signal.aborted) return;
        this.lease.heedFailure(thrown, sent_ms);
        await this.pause(++failed, signal);
      }
    }
  }

  /** Takes over whether the agent is to drain, or was set aside. */
  private heed({ is_draining, set_aside_reason }: ReplyOf<typeof orderAgent>): void {
    const { log } = this.settings;
    if (is_draining !== this.isDrainOrdered) {
      this.isDrainOrdered = is_draining;
      if (is_draining) log.info({ running: this.running }, 'ordered to drain: nothing new is taken');
      else if (!this.isLeaving) log.info('the order to drain was taken back');
      this.wake();
    }
    if (set_aside_reason === this.setAsideReason) return;
    if (set_aside_reason !== null) this.settings.say?.(`Warning: the server gives this agent no work: ${set_aside_reason}`);
    this.setAsideReason = set_aside_reason;
    this.attempts.failedStarts.clear();
    if (set_aside_reason === null) log.info('the server gives this agent work again');
    else
      log.error({ set_aside_reason }, 'the server has set this agent aside: restore it, or start it anew, when its host is well');
  }

  /** Leaves for good when the agent drains and nothing of it is left. */
  private async leaveFor(term: Term): Promise<void> {
    const { signal } = term.over;
    for (let failed = 0; !signal.aborted && this.settings.onLeft !== undefined;) {
      if (!this.isDraining || !this.attempts.isEmpty || this.openPolls > 0) {
        await this.news(signal);
        continue;
      }
      try {
        const options = { signal, timeout_ms: ANSWER_MS_MAX, tries_max: 1 };
        await this.connection.send(leaveAgent, { agent_id: term.agent_id }, options);
        this.settings.log.info({ agent_id: term.agent_id }, 'the agent has left');
        this.isOver = true;
        this.settings.onLeft();
        return;
      } catch {
        // The server is away, or has given an attempt in a call whose answer was lost.
        if (signal.aborted) return;
        if (++failed > LEAVES_MAX) return term.over.abort();
        await this.pause(failed, signal);
      }
    }
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  }

  private async beatFor(term: Term): Promise<void> {
    const { signal } = term.over;
    const interval_ms = (term.lease_seconds * 1_000) / 3;
    for (let failed = 0; !signal.aborted;) {
      await rest(failed === 0 ? this.lease.dueIn_ms : Math.min(interval_ms, 1_000), signal);
      if (signal.aborted) return;
      const sent_ms = performance.now();
      try {
        const request = { agent_id: term.agent_id, running: this.attempts.ids };
        const options = { signal, timeout_ms: this.lease.patience_ms(this.connection.addresses, interval_ms), tries_max: 1 };
        const { is_known, kill } = await this.connection.send(beatAgent, request, options);
        failed = 0;
        if (signal.aborted) return;
        if (!is_known) return this.endAll(GIVEN_UP);
        this.lease.renew(sent_ms);
        this.attempts.obey(kill);
      } catch (thrown) {
        if (signal.aborted) return;
        failed++;
        this.lease.heedFailure(thrown, sent_ms);
        this.settings.log.warn({ error: JobmonError.from(thrown).message }, 'a heartbeat of the agent got no answer');
        // The polls wait where the beat went. Another api takes the agent, with all that is its own.
        if (this.connection.addresses > 1) return term.over.abort();
      }
    }
  }

  private async reportFor(term: Term): Promise<void> {
    const { signal } = term.over;
    for (let failed = 0; !signal.aborted;) {
      if (this.attempts.outbox.size === 0) {
        await this.news(signal);
      } else if (await this.sendBatch(term, signal)) {
        failed = 0;
      } else {
        await this.pause(++failed, signal);
      }
    }
  }

  /** Sends one message of reports and draws the conclusions from its answer; false when there was none that counts. */
  private async sendBatch(term: Term, signal: AbortSignal): Promise<boolean> {
    const { outbox, failedStarts } = this.attempts;
    const reports = outbox.take();
    const sent_ms = performance.now();
    try {
      const failed = new Set(failedStarts.task_instance_ids);
      const failed_starts = reports.some(({ task_instance_id }) => failed.has(task_instance_id)) ? [...failed] : [];
      const options = { signal, timeout_ms: ANSWER_MS_MAX, tries_max: 1 };
      const request = { agent_id: term.agent_id, reports, failed_starts };
      const { statuses } = await this.connection.send(reportAttempts, request, options);
      if (signal.aborted) throw new Error('the term is over');
      for (const [at, report] of reports.entries()) {
        this.attempts.onStanding(report, statuses[at] ?? null, this.lease.length_ms);
      }
      this.wake();
      return true;
    } catch (thrown) {
      outbox.giveBack(reports);
      this.lease.heedFailure(thrown, sent_ms);
      // Polls wait on the same way, and would for a long time: the next term opens them anew.
      if (isServerUnreachable(thrown)) term.over.abort();
      if (!signal.aborted)
        this.settings.log.warn({ error: JobmonError.from(thrown).message, reports: reports.length }, 'reports got no answer');
      return false;
    }
  }

  private endAll(because: string): void {
    this.attempts.endAll(because, this.lease.length_ms);
  }

  /** Kills everything when the lease could not be renewed for two thirds of it. */
  private checkLease(): void {
    if (!this.lease.hasJustRunOut()) return;
    const seconds = Math.round((this.lease.length_ms * 2) / 3_000);
    this.settings.log.error({ running: this.running }, `the server did not answer for ${seconds} s; the agent ends its commands`);
    this.endAll(`its agent could not reach the server for ${seconds} s`);
    this.term?.over.abort();
    this.wake();
  }

  /** The last reports of an agent that stops, if the server answers in time. */
  private async sayFarewell(term: Term): Promise<void> {
    const signal = AbortSignal.timeout(FAREWELL_MS_MAX);
    while (this.attempts.outbox.size > 0 && (await this.sendBatch(term, signal)));
  }

  private wake(): void {
    for (const waiter of [...this.waiters]) waiter();
  }

  /** Resolves at the next `wake`, or at the end of the term. */
  private news(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const waiter = () => {
        this.waiters.delete(waiter);
        resolve();
      };
      this.waiters.add(waiter);
    });
  }

  /** Waits after the nth failure: doubled each time, up to five seconds, and never so long that the lease would run out by it. */
  private pause(failed: number, signal: AbortSignal = this.stopping.signal): Promise<void> {
    return rest(Math.min(PAUSE_MS_MAX, this.lease.length_ms / 6, 100 * 2 ** Math.min(failed - 1, 10)), signal);
  }
}

const rest = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal }).catch(() => undefined);

/** Whether some cluster has more room than was asked for. */
function hasMore(room: Readonly<Record<string, ClusterRoom>>, asked: Readonly<Record<string, ClusterRoom>>): boolean {
  return Object.entries(room).some(([cluster, { slots, cores, memory_gib }]) => {
    const before = asked[cluster] ?? { slots: 0, cores: 0, memory_gib: 0 };
    return slots > before.slots || cores > before.cores || memory_gib > before.memory_gib;
  });
}
