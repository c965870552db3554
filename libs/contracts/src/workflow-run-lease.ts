/**
 * Leases: which scheduler walks which server run. A lease has a number, the fence, which grows with every change of hands. A write
 * that carries a lower one comes from a former holder and changes nothing. How long a lease holds is its scheduler's affair: one row
 * with a deadline for each scheduler, so that holding a thousand runs costs as little as holding one.
 */
import { z } from 'zod';
import { Id } from './id';
import { operation } from './operation';

/** Number of a lease; 0 of a run that nobody has leased yet, which is also what a write without one has. */
export const Fence = z.number().int().nonnegative();

/** `[workflow_run_id, fence]`. */
export const Lease = z.tuple([Id, Fence]);
export type Lease = z.output<typeof Lease>;

/** In the answer to a former holder's write, and only there: nothing was changed, and the rest of the answer is what stands. */
export const LeaseLost = z.literal(true).optional();

/** Names one start of one scheduler; a scheduler that is started anew is another one. */
const SchedulerInstance = z.string().min(1).max(150);
/** From now to the deadline of a scheduler, by the database's clock. */
const LeaseSeconds = z.number().int().min(1).max(300);

/** Runs that one scheduler may hold, and leases of one request. */
export const LEASES_MAX = 1_000;

/** How many runs each of so many live schedulers should hold. */
export function fairShare(runs: number, schedulers: number): number {
  return Math.ceil(runs / Math.max(1, schedulers));
}

/**
 * The scheduler is alive, and takes runs that nobody holds, or whose holder's deadline has passed, up to its share of all runs that
 * need a scheduler. These are live server runs, and the newest run of a workflow on which a command waits.
 */
export const leaseWorkflowRuns = operation({
  name: 'workflow_run.lease',
  owner: 'state-machine',
  summary: 'Give a scheduler its share of the runs that nobody walks.',
  request: z.object({
    scheduler_instance: SchedulerInstance,
    seconds: LeaseSeconds,
    runs_max: z.number().int().min(1).max(LEASES_MAX),
    /** What somebody of the same name held before is free: only one at a time has this name, and it begins now. */
    is_start: z.boolean(),
  }),
  reply: z.object({
    /** What was taken by this call. */
    leases: z.array(Lease),
  }),
});

/** The scheduler is alive: its deadline moves, and with it that of all its leases. */
export const renewScheduler = operation({
  name: 'scheduler.renew',
  owner: 'state-machine',
  summary: 'Keep all leases of a scheduler.',
  request: z.object({ scheduler_instance: SchedulerInstance, seconds: LeaseSeconds }),
  reply: z.object({}),
});

/** Gives leases back at once; what this scheduler no longer holds is left alone. */
export const releaseWorkflowRuns = operation({
  name: 'workflow_run.release',
  owner: 'state-machine',
  summary: 'Give leases of a scheduler back.',
  request: z.object({
    scheduler_instance: SchedulerInstance,
    leases: z.array(Lease).max(LEASES_MAX),
    /** The scheduler ends: it gives back all that it holds, named or not, and no longer counts as one who could take runs. */
    is_leaving: z.boolean(),
  }),
  reply: z.object({ released: z.number().int() }),
});
