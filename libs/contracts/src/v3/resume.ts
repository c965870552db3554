/** Resume: E18, E44 to E46, and the reset of tasks that binding them again asks for. */
import { z } from 'zod';
import { Id } from '../id';
import { operation, type Operation } from '../operation';

/**
 * Prepares tasks of one workflow for a new run: each that is not D → G with no attempts counted and the fence cleared, and
 * its attempts that have not ended settled first (races 26, 28, 30): Q and I → F, since nobody runs them, O, R, T and X → K.
 * Unless `reset_if_running`, a task in R whose attempt is in R is kept with it (a hot resume). While a run of the workflow is live
 * nothing changes. Answers where each task of the workflow stands afterwards; ids of other workflows are left out.
 */
export const resetTasks = operation({
  name: 'task.reset',
  owner: 'state-machine',
  summary: 'Reset tasks that are bound again for a new run.',
  request: z.object({
    workflow_id: Id,
    task_ids: z.array(Id).min(1).max(1_000),
    reset_if_running: z.boolean(),
  }),
  reply: z.object({ statuses: z.array(z.tuple([z.number().int(), z.string()])) }),
});

export const RESUME_OPERATIONS: readonly Operation[] = [resetTasks];
