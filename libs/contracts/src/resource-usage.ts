/** What attempts used of what they asked for, over all tasks of a template: the figures from which a next request is made. */
import { z } from 'zod';
import { Id } from './id';
import { operation } from './operation';

/** Figures of one resource over the attempts that told it. */
const Figures = z
  .object({
    min: z.number(),
    max: z.number(),
    mean: z.number(),
    median: z.number(),
    p90: z.number(),
    p95: z.number(),
    p99: z.number(),
    /** Around the mean, at the confidence that was asked for; null when none was, or of a single attempt. */
    interval: z.tuple([z.number(), z.number()]).nullable(),
    /** Mean of used / requested over the attempts that have both; null when none has. */
    utilization: z.number().nullable(),
  })
  .nullable();

/**
 * What the attempts of a template version that came to an end of their own used, in all workflows or in those given, of all nodes
 * or of those whose arguments are given (AND over names, OR over values). At most 500,000 attempts, those of the newest workflows.
 */
export const getTemplateUsage = operation({
  name: 'task_template.usage',
  owner: 'api',
  summary: 'Statistics of what the tasks of a template used.',
  http: { method: 'POST', path: '/api/v4/task_template_versions/{task_template_version_id}/usage' },
  role: 'reader',
  request: z.object({
    task_template_version_id: Id,
    workflow_ids: z.array(Id).max(10_000).optional(),
    node_args: z.record(z.string().min(1).max(255), z.array(z.string()).min(1).max(10_000)).optional(),
    /** Confidence level of the intervals, between 0 and 1. */
    confidence: z.number().gt(0).lt(1).optional(),
  }),
  reply: z.object({
    attempts: z.number().int(),
    /** Bytes. */
    memory: Figures,
    /** Seconds. */
    runtime: Figures,
    /** True when attempts were left out, since there are too many. */
    is_sampled: z.boolean(),
  }),
});
