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
 * - *serving*: one term under one agent id. Long polls ask for as many attempts as can start; a beat goes out
 *   every third of the lease; reports leave one message at a time. The term ends when a beat finds the id unknown, when the
 *   lease was not renewed for two thirds of its length, or when a lease call got no answer: the server may have given
 *   attempts in it, and registering again names them.
 * - *stopped*: final. Running commands are left to their launchers; the next agent in this state directory adopts them. What
 *   was not reported is found in its folder then.
 *
 * In every mode but *stopped*: when the lease was not renewed for two thirds of its length, all commands are killed, since
 * the server gives them to others when the whole of it has passed (design rule 5.11). Commands report into the outbox whatever
 * the mode; nothing is leased while it is full, and a report leaves it only when the server has answered it in the same term.
 */
import { totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { clearLeftovers, KILL_GRACE_MS, openCluster, type Cluster } from '@jobmon/cluster';
import { Connection } from '@jobmon/client';
import {
  beatAgent,
  JobmonError,
  leaseAssignments,
  registerAgent,
  reportAttempts,
  type Assignment,
  type AttemptReport,
} from '@jobmon/contracts';
import type { Logger } from '@jobmon/runtime';
import { Outbox } from './outbox';
import { holdStateDirectory } from './state-directory';

/** Longest pause between two tries of anything that is tried for ever. */
const PAUSE_MS_MAX = 5_000;
/** A long poll is answered after so many seconds at the latest; more makes proxies nervous. */
const LEASE_WAIT_SECONDS = 20;
/** What a call may take beyond what the server was asked to wait. */
const ANSWER_MS_MAX = 20_000;
/** Attempts asked for in one call. */
const WANTED_MAX = 1_000;
/** An end is sent so often under an id that counts before the agent believes that the server will not take it. */
const REFUSALS_MAX = 5;
/** The guard of the lease looks so often; one that comes later than the second figure was frozen with its process. */
const GUARD_MS = 250;
const FROZEN_MS = 1_500;
/** What was killed may need so much longer than its grace until its end is known. */
const ENDING_MS_MAX = 2_000;
/** Reports are given so long to leave when the agent stops; what stays is found in the folders at the next start. */
const FAREWELL_MS_MAX = 3_000;

export interface AgentSettings {
  /** Where the api answers. Asked at each try to join: a server that was started anew may have another address and token. */
  readonly findApi: () => Promise<{ readonly url: string; readonly token?: string }>;
  /** Name of the cluster to the type that names its plug-in. */
  readonly clusters: Readonly<Record<string, string>>;
  /** Commands at a time under `multiprocess`. */
  readonly cores: number;
  readonly state_directory: string;
  readonly any_user: boolean;
  readonly user: string;
  readonly hostname: string;
  readonly version: string;
  readonly log: Logger;
}

/** An attempt from its lease to the acknowledgement of its end. */
interface Known {
  readonly cluster: Cluster;
  hasEnded: boolean;
  refusals: number;
  /** Why the agent itself ended it. */
  killed_because: string | null;
}

/** One stretch of service under one agent id. */
interface Term {
  readonly agent_id: number;
  readonly lease_seconds: number;
  readonly over: AbortController;
}

export class Agent {
  /** To the api as it was found at the last try to join. */
  private connection!: Connection;
  private readonly clusters = new Map<string, Cluster>();
  private readonly known = new Map<number, Known>();
  private readonly outbox = new Outbox();
  private readonly stopping = new AbortController();
  /** Wakes whoever waits for room, for reports, or for the end. */
  private readonly waiters = new Set<() => void>();
  private releaseFolder: (() => void) | null = null;
  private loop: Promise<void> = Promise.resolve();
  private lease_ms = Number.POSITIVE_INFINITY;
  /** When the last renewal that was answered had been sent, by `performance.now()`. */
  private renewed_ms = 0;
  private isCutOff = false;
  /** When the guard looked last, and when it last found that it had been frozen. */
  private guarded_ms = performance.now();
  private thawed_ms = Number.NEGATIVE_INFINITY;
  private term: Term | null = null;
  /** Terms in a row that ended by a failed lease call. */
  private failedTerms = 0;
  private hasCleared = false;

  constructor(private readonly settings: AgentSettings) {}

  /**
   * Takes hold of the state directory and begins to join. Throws JobmonError when the directory can't be used or is
   * another living agent's; a server that is away is waited for.
   */
  start(): void {
    const { clusters, cores, state_directory, log } = this.settings;
    this.releaseFolder = holdStateDirectory(state_directory);
    for (const [name, type] of Object.entries(clusters)) {
      const onReport = (report: AttemptReport) => this.onReport(report);
      this.clusters.set(name, openCluster(type, { state_directory, cores, memory_gib: totalmem() / 2 ** 30, onReport }));
    }
    this.loop = this.run().catch((error: unknown) => log.error({ error }, 'the agent has stopped by a defect of its own'));
  }

  /** Reports what can be reported within three seconds and lets go of everything else. Commands that run go on. */
  async stop(): Promise<void> {
    if (this.stopping.signal.aborted) return this.loop;
    this.stopping.abort();
    this.wake();
    await this.loop;
    const running = [...this.known.values()].filter((known) => !known.hasEnded).length;
    for (const cluster of this.clusters.values()) cluster.close();
    this.releaseFolder?.();
    const { log } = this.settings;
    if (running > 0) log.info({ running }, 'running commands go on without the agent; its next start adopts them');
    if (this.outbox.size > 0) log.info({ unreported: this.outbox.size }, 'ended commands are reported at the next start');
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    const guard = setInterval(() => this.checkLease(), GUARD_MS);
    let term: Term | null = null;
    try {
      while (!signal.aborted) {
        term = await this.join();
        if (term !== null) await this.serve(term);
      }
    } finally {
      clearInterval(guard);
    }
    if (term !== null) await this.sayFarewell(term);
  }

  /** Registers until the server answers. Null when the agent is stopped before. */
  private async join(): Promise<Term | null> {
    const { hostname, user, any_user, clusters, state_directory, version, log } = this.settings;
    const request = {
      hostname,
      user,
      any_user,
      clusters: Object.keys(clusters),
      state_directory,
      process_id: process.pid,
      version,
    };
    for (let tried = 1; !this.stopping.signal.aborted; tried++) {
      const sent_ms = performance.now();
      try {
        this.connection = new Connection(await this.settings.findApi());
        const options = { signal: this.stopping.signal, timeout_ms: ANSWER_MS_MAX, tries_max: 1 };
        const { agent_id, lease_seconds, adopted } = await this.connection.send(registerAgent, request, options);
        this.lease_ms = lease_seconds * 1_000;
        this.renewed_ms = sent_ms;
        this.isCutOff = false;
        await this.takeOver(adopted);
        log.info({ agent_id, adopted: adopted.length }, 'the agent has joined');
        return { agent_id, lease_seconds, over: new AbortController() };
      } catch (thrown) {
        if (this.stopping.signal.aborted) return null;
        const error = JobmonError.from(thrown);
        // Said once and then every minute or so: in a house the api starts beside the agent.
        if (tried % 12 === 2) log.warn({ error: error.message }, 'the server does not take the agent yet; it goes on asking');
      }
      await this.pause(tried);
    }
    return null;
  }

  /** Makes what the agent knows agree with what the server says is its own. */
  private async takeOver(adopted: readonly Assignment[]): Promise<void> {
    const { state_directory, log } = this.settings;
    const own = new Set(adopted.map((assignment) => assignment.task_instance_id));
    const foreign = [...this.known].filter(([task_instance_id]) => !own.has(task_instance_id));
    for (const [task_instance_id, known] of foreign) {
      this.kill(task_instance_id, known, 'the server has given the attempt away');
    }
    // The next attempt of such a task may be leased to this very agent: it must not run beside the remains of the one before.
    const bound_ms = performance.now() + Math.min(KILL_GRACE_MS, this.lease_ms / 6) + ENDING_MS_MAX;
    while (foreign.some(([, known]) => !known.hasEnded) && performance.now() < bound_ms) {
      await this.rest(50, this.stopping.signal);
      if (this.stopping.signal.aborted) return;
    }
    if (!this.hasCleared) {
      const cleared = await clearLeftovers(state_directory, own);
      if (cleared.removed > 0) log.info(cleared, 'cleared what a former agent left behind');
      this.hasCleared = true;
    }
    for (const assignment of adopted) this.take(assignment, (cluster) => cluster.adopt(assignment));
  }

  private take(assignment: Assignment, hand: (cluster: Cluster) => void): void {
    const { task_instance_id } = assignment;
    if (this.known.has(task_instance_id)) return;
    const cluster = this.clusters.get(assignment.cluster);
    if (cluster === undefined) {
      const error_description = `the agent on ${this.settings.hostname} serves no cluster '${assignment.cluster}'`;
      this.outbox.add({ task_instance_id, status: 'W', error_description });
      return;
    }
    this.known.set(task_instance_id, { cluster, hasEnded: false, refusals: 0, killed_because: null });
    hand(cluster);
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
    const loops = [this.beatFor(term), this.reportFor(term), this.leaseFor(term)];
    await Promise.allSettled(loops.map((loop) => loop.finally(end)));
    this.stopping.signal.removeEventListener('abort', end);
  }

  /**
   * Keeps a long poll open for every cluster with room: one for all of them while nothing changes, and another for a cluster
   * that gets room while the first one waits without it. A poll is never taken back, since its answer may be on the way.
   */
  private async leaseFor(term: Term): Promise<void> {
    const { signal } = term.over;
    const asked = new Set<string>();
    const polls = new Set<Promise<void>>();
    while (!signal.aborted) {
      const wanted: Record<string, number> = {};
      for (const [name, cluster] of this.clusters) {
        const room = Math.min(cluster.room().slots, WANTED_MAX);
        if (room > 0 && !asked.has(name) && !this.outbox.isFull) wanted[name] = room;
      }
      const names = Object.keys(wanted);
      if (names.length === 0) {
        await this.news(signal);
        continue;
      }
      for (const name of names) asked.add(name);
      const poll = this.poll(term, wanted).finally(() => {
        for (const name of names) asked.delete(name);
        polls.delete(poll);
        this.wake();
      });
      polls.add(poll);
    }
    await Promise.allSettled(polls);
  }

  /** One long poll. One without an answer ends the term: it may have given attempts, and registering again names them. */
  private async poll(term: Term, wanted: Record<string, number>): Promise<void> {
    const { signal } = term.over;
    const sent_ms = performance.now();
    const request = { agent_id: term.agent_id, wanted, wait_seconds: LEASE_WAIT_SECONDS };
    const timeout_ms = LEASE_WAIT_SECONDS * 1_000 + ANSWER_MS_MAX;
    try {
      const { assignments } = await this.connection.send(leaseAssignments, request, { signal, timeout_ms, tries_max: 1 });
      if (signal.aborted) return; // The next registration names what it gave.
      this.failedTerms = 0;
      this.renewed_ms = Math.max(this.renewed_ms, sent_ms);
      // An answer that lay there while this process was frozen may be of attempts that others have by now.
      if (performance.now() - this.renewed_ms > (this.lease_ms * 2) / 3) return term.over.abort();
      for (const assignment of assignments) this.take(assignment, (cluster) => cluster.start(assignment));
    } catch (thrown) {
      if (signal.aborted) return;
      this.settings.log.info({ error: JobmonError.from(thrown).message }, 'a lease call failed; the agent joins again');
      await this.pause(++this.failedTerms, signal);
      term.over.abort();
    }
  }

  private async beatFor(term: Term): Promise<void> {
    const { signal } = term.over;
    const interval_ms = (term.lease_seconds * 1_000) / 3;
    for (let failed = 0; !signal.aborted;) {
      await this.rest(failed === 0 ? interval_ms : Math.min(interval_ms, 1_000), signal);
      if (signal.aborted) return;
      const sent_ms = performance.now();
      try {
        const request = { agent_id: term.agent_id, running: [...this.known.keys()] };
        const options = { signal, timeout_ms: interval_ms, tries_max: 1 };
        const { is_known, kill } = await this.connection.send(beatAgent, request, options);
        failed = 0;
        if (signal.aborted) return;
        if (!is_known) return this.endAll('the server has given the attempt up, since it had not heard of its agent');
        this.renewed_ms = Math.max(this.renewed_ms, sent_ms);
        for (const task_instance_id of kill) {
          const known = this.known.get(task_instance_id);
          if (known !== undefined) this.kill(task_instance_id, known, 'the server ordered it', KILL_GRACE_MS);
        }
      } catch (thrown) {
        if (signal.aborted) return;
        failed++;
        this.settings.log.warn({ error: JobmonError.from(thrown).message }, 'a heartbeat of the agent got no answer');
      }
    }
  }

  private async reportFor(term: Term): Promise<void> {
    const { signal } = term.over;
    for (let failed = 0; !signal.aborted;) {
      if (this.outbox.size === 0) {
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
    const reports = this.outbox.take();
    try {
      const options = { signal, timeout_ms: ANSWER_MS_MAX, tries_max: 1 };
      const { statuses } = await this.connection.send(reportAttempts, { agent_id: term.agent_id, reports }, options);
      if (signal.aborted) throw new Error('the term is over');
      for (const [at, report] of reports.entries()) this.onStanding(report, statuses[at] ?? null);
      this.wake();
      return true;
    } catch (thrown) {
      this.outbox.giveBack(reports);
      if (!signal.aborted)
        this.settings.log.warn({ error: JobmonError.from(thrown).message, reports: reports.length }, 'reports got no answer');
      return false;
    }
  }

  /** What follows from the status that stands after a report. */
  private onStanding(report: AttemptReport, standing: string | null): void {
    const { task_instance_id, status } = report;
    const known = this.known.get(task_instance_id);
    if (status === 'R') {
      if (standing !== 'R' && known !== undefined) this.kill(task_instance_id, known, `it stands at ${standing} on the server`);
      return;
    }
    const isLive = standing === 'I' || standing === 'O' || standing === 'R' || standing === 'T';
    if (isLive && known !== undefined && ++known.refusals < REFUSALS_MAX) {
      // "Could not be started" is no end of what the server has as running; that its end is not known is one.
      this.outbox.add(status === 'W' && standing !== 'I' ? { ...report, status: 'U' } : report);
      return;
    }
    if (isLive) this.settings.log.error({ task_instance_id, status, standing }, 'the server does not take the end of an attempt');
    this.known.delete(task_instance_id);
    known?.cluster.forget(task_instance_id);
  }

  private onReport(report: AttemptReport): void {
    const known = this.known.get(report.task_instance_id);
    if (known !== undefined && report.status !== 'R') known.hasEnded = true;
    const because = known?.killed_because;
    const error_description =
      because && report.status !== 'D' ? `${report.error_description ?? 'ended'}: ${because}` : report.error_description;
    this.outbox.add({ ...report, error_description, nodename: this.settings.hostname });
    this.wake();
  }

  /** Ends an attempt. Without `grace_ms` others may start it soon: the last sixth of the lease stays for SIGKILL to work. */
  private kill(task_instance_id: number, known: Known, because: string, grace_ms = this.lease_ms / 6): void {
    if (known.hasEnded || known.killed_because !== null) return;
    known.killed_because = because;
    this.settings.log.info({ task_instance_id, because }, 'killing an attempt');
    known.cluster.kill(task_instance_id, Math.min(KILL_GRACE_MS, grace_ms));
  }

  private endAll(because: string): void {
    for (const [task_instance_id, known] of this.known) this.kill(task_instance_id, known, because);
  }

  /**
   * Kills everything when the lease could not be renewed for two thirds of it. A process that was frozen (SIGSTOP, Ctrl-Z) did
   * not try: what it held may be its own still, so it has a sixth of the lease for the beat that is due.
   */
  private checkLease(): void {
    const now_ms = performance.now();
    if (now_ms - this.guarded_ms > FROZEN_MS) this.thawed_ms = now_ms;
    this.guarded_ms = now_ms;
    if (this.isCutOff || now_ms - this.renewed_ms < (this.lease_ms * 2) / 3 || now_ms - this.thawed_ms < this.lease_ms / 6)
      return;
    this.isCutOff = true;
    const seconds = Math.round((this.lease_ms * 2) / 3_000);
    this.settings.log.error(
      { running: this.known.size },
      `the server did not answer for ${seconds} s; the agent ends its commands`,
    );
    this.endAll(`its agent could not reach the server for ${seconds} s`);
    this.term?.over.abort();
    this.wake();
  }

  /** The last reports of an agent that stops, if the server answers in time. */
  private async sayFarewell(term: Term): Promise<void> {
    const signal = AbortSignal.timeout(FAREWELL_MS_MAX);
    while (this.outbox.size > 0 && (await this.sendBatch(term, signal)));
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

  /** Waits after the nth failure: doubled each time, up to five seconds. */
  private pause(failed: number, signal: AbortSignal = this.stopping.signal): Promise<void> {
    return this.rest(Math.min(PAUSE_MS_MAX, 100 * 2 ** Math.min(failed - 1, 10)), signal);
  }

  private async rest(ms: number, signal: AbortSignal): Promise<void> {
    await sleep(ms, undefined, { signal }).catch(() => undefined);
  }
}
