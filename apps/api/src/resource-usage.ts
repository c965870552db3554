/** What the tasks of a template used: the statistics of the Python protocol (C15) under plain names. */
import type { getTemplateUsage, ReplyOf, RequestOf } from '@jobmon/contracts';
import type { Room } from './context';
import { findResourceUsage } from './v3/resource-usage';

type Reply = ReplyOf<typeof getTemplateUsage>;

/** @throws JobmonError NOT_FOUND */
export async function findTemplateUsage(room: Room, request: RequestOf<typeof getTemplateUsage>): Promise<Reply> {
  const { task_template_version_id, workflow_ids, node_args, confidence } = request;
  const usage = await findResourceUsage(room, {
    task_template_version_id,
    workflows: workflow_ids,
    node_args,
    ci: confidence,
    max_points: 1,
  });
  const { min_mem, max_mem, mean_mem, median_mem, mem_percentiles, ci_mem, mem_utilization } = usage;
  const { min_runtime, max_runtime, mean_runtime, median_runtime, runtime_percentiles, ci_runtime, runtime_utilization } = usage;
  const figures = { min: min_runtime, max: max_runtime, mean: mean_runtime, median: median_runtime };
  return {
    attempts: usage.num_task_instances ?? 0,
    memory:
      mem_percentiles === null
        ? null
        : {
            min: min_mem ?? 0,
            max: max_mem ?? 0,
            mean: mean_mem ?? 0,
            median: median_mem ?? 0,
            ...tail(mem_percentiles),
            interval: ci_mem,
            utilization: mem_utilization,
          },
    runtime:
      runtime_percentiles === null
        ? null
        : { ...figures, ...tail(runtime_percentiles), interval: ci_runtime, utilization: runtime_utilization },
    is_sampled: usage.sampled,
  };
}

function tail({ p90, p95, p99 }: { p90: number; p95: number; p99: number }): { p90: number; p95: number; p99: number } {
  return { p90, p95, p99 };
}
