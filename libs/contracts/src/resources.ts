/**
 * What tasks ask of their cluster, and how that grows after an attempt was killed for it. Checked here where it enters the house; whoever reads
 * stored rows reads tolerantly, since other programs wrote rows too.
 */
import { z } from 'zod';
import { RESOURCES_MAX } from './resource-bound';

const RULES = {
  cores: 'a whole number from 1 to 100000',
  memory: 'a number of GiB above 0 and up to 1048576',
  runtime: 'a number of seconds above 0 and up to 315360000',
} as const;

/** The resources that every cluster understands. */
export const LIMITED_RESOURCES = ['cores', 'memory', 'runtime'] as const;
export type LimitedResource = (typeof LIMITED_RESOURCES)[number];

function isAmount(name: LimitedResource, value: unknown): boolean {
  if (typeof value !== 'number' || !(value > 0) || value > RESOURCES_MAX[name]) return false;
  return name !== 'cores' || Number.isInteger(value);
}

/**
 * `cores` (whole), `memory` (GiB, a fraction is allowed), `runtime` (seconds), `stdout` and `stderr` (folders), `project`, and what else the
 * plug-in knows. Units as text (`256M`, `2h`) are the client's to turn into numbers. What is not asked for is not limited.
 */
export const RequestedResources = z.record(z.string(), z.unknown()).superRefine((requested, context) => {
  for (const name of LIMITED_RESOURCES) {
    const value = requested[name];
    if (value === undefined || isAmount(name, value)) continue;
    context.addIssue({ code: 'custom', path: [name], message: `must be ${RULES[name]}, not ${JSON.stringify(value)}` });
  }
});

/** Characters of `task.resource_scales` and `task.fallback_queues` (spec/data-model.md section 2). */
const NOTE_CHARACTERS_MAX = 1_000;
const fitsNote = (value: unknown): boolean => JSON.stringify(value).length <= NOTE_CHARACTERS_MAX;
const TOO_LONG = `must not be longer than ${NOTE_CHARACTERS_MAX} characters as JSON`;

/**
 * Resource to how it grows when an attempt ends as RESOURCE_ERROR and another one is left. A number s: times (1 + s); `runtime` rounded up to a
 * whole second, `memory` to a MiB, `cores` to a whole core, others up when they are whole. A list: the values of attempt 2, 3, …; its last one
 * holds for all later ones. A resource that is not asked for does not grow.
 */
export const ResourceScales = z
  .record(z.string().min(1).max(255), z.union([z.number().min(0).max(1_000), z.array(z.number().positive()).min(1)]))
  .refine(fitsNote, TOO_LONG);
export type ResourceScales = z.output<typeof ResourceScales>;

/** The scales of a task that names none, as the Python client has them. */
export const DEFAULT_RESOURCE_SCALES: ResourceScales = { memory: 0.5, runtime: 0.5 };

/** Queues of the task's cluster, tried in this order when the scaled resources do not fit its own. */
export const FallbackQueues = z.array(z.string().min(1).max(255)).refine(fitsNote, TOO_LONG);
