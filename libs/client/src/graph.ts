/**
 * The graph of a workflow as typed arrays, and the rules that it must keep before anything is written: every edge inside the
 * workflow, no cycle, no node twice. Holds a million tasks: nothing here is made per edge but its place in an array.
 */
import { JobmonError } from '@jobmon/contracts';
import type { Graph } from './identity';
import type { Task, TemplateOfTask } from './task';

/** Tasks named in one refusal. */
const NAMED_MAX = 10;
/** Widths of the columns that hold them (spec/data-model.md section 2), in characters and in bytes. */
const ARG_CHARS_MAX = 2_048;
const COMMAND_BYTES_MAX = 65_535;

/** A rule of workflows was broken: what the error's details say for programs, beside the sentence for people. */
export interface BrokenRule {
  readonly rule:
    | 'no_tasks'
    | 'edge_outside'
    | 'cycle'
    | 'same_node_args'
    | 'too_long'
    | 'nul_in_command'
    | 'no_cluster'
    | 'bad_resources'
    | 'unknown_cluster'
    | 'unknown_queue'
    | 'queue_limit'
    | 'two_limits'
    | 'unknown_template';
  /** Names of the tasks, at most ten. */
  readonly tasks: readonly string[];
}

/** The refusal of a workflow: `MALFORMED`, its details a `BrokenRule`. */
export function refusal(rule: BrokenRule['rule'], tasks: readonly Task[], sentence: string): JobmonError {
  const details: BrokenRule = { rule, tasks: tasks.slice(0, NAMED_MAX).map((task) => task.name) };
  return new JobmonError('MALFORMED', sentence, details);
}

/** Names for a sentence: `a, b and 7 more`. */
export function named(tasks: readonly Task[]): string {
  const names = tasks.slice(0, NAMED_MAX).map((task) => `'${task.name}'`);
  const more = tasks.length - names.length;
  return more > 0 ? `${names.join(', ')} and ${more} more` : names.join(', ');
}

/** Downstreams and upstreams of each task by its position. Throws the refusal of the first rule that is broken. */
export function graphOf(tasks: readonly Task[]): { downstreams: Graph; upstreams: Graph } {
  if (tasks.length === 0) throw refusal('no_tasks', [], 'the workflow has no tasks');
  const upstreams = upstreamsOf(tasks);
  checkNodes(tasks);
  const downstreams = turned(upstreams);
  checkCycle(tasks, upstreams, downstreams);
  return { downstreams, upstreams };
}

function upstreamsOf(tasks: readonly Task[]): Graph {
  const positions = new Map(tasks.map((task, position) => [task, position]));
  const offsets = new Uint32Array(tasks.length + 1);
  tasks.forEach((task, position) => (offsets[position + 1] = offsets[position]! + task.upstreams.size));
  const targets = new Uint32Array(offsets[tasks.length]!);
  let at = 0;
  for (const task of tasks) {
    for (const upstream of task.upstreams) {
      const position = positions.get(upstream);
      if (position === undefined) {
        const sentence = `task '${task.name}' waits for task '${upstream.name}', which is not in the workflow; add it with addTask`;
        throw refusal('edge_outside', [task, upstream], sentence);
      }
      targets[at++] = position;
    }
  }
  return { offsets, targets };
}

/** What makes two templates of one tool the same version on the server. */
export function keyOfTemplate({ name, commandText, nodeArgs, taskArgs, opArgs }: TemplateOfTask): string {
  return JSON.stringify([name, commandText, [...nodeArgs].sort(), [...taskArgs].sort(), [...opArgs].sort()]);
}

/**
 * The limit of each template that has one, by `keyOfTemplate`: what the workflow says of it by name, else what its matrices say. Throws the
 * refusal of two matrices that differ, and of a name that no template of the tasks has.
 */
export function templateLimits(tasks: readonly Task[], byName: ReadonlyMap<string, number>): Map<string, number> {
  const limits = new Map<string, number>();
  const names = new Set<string>();
  const seen = new Map<unknown, Task>();
  for (const task of tasks) {
    const owner = task.array ?? task.template;
    if (seen.has(owner)) continue;
    seen.set(owner, task);
    const { name } = task.template;
    names.add(name);
    const key = keyOfTemplate(task.template);
    const limit = byName.get(name) ?? task.array?.maxConcurrentlyRunning;
    if (limit === undefined) continue;
    const other = limits.get(key);
    if (other !== undefined && other !== limit) {
      const what = `the tasks of template '${name}' are one array, and two limits are given for it: ${other} and ${limit}`;
      throw refusal('two_limits', [task], what);
    }
    limits.set(key, limit);
  }
  for (const name of byName.keys()) {
    if (names.has(name)) continue;
    const what = `a limit is given for the template '${name}', of which there are no tasks; there are tasks of`;
    throw refusal('unknown_template', [], `${what} ${[...names].join(', ')}`);
  }
  return limits;
}

/** Node arguments must tell the tasks of one template apart, and values must fit their columns. */
function checkNodes(tasks: readonly Task[]): void {
  const seen = new Map<string, Map<string, Task>>();
  const keys = new Map<unknown, string>();
  for (const task of tasks) {
    const { template } = task;
    let key = keys.get(template);
    if (key === undefined) keys.set(template, (key = keyOfTemplate(template)));
    let ofTemplate = seen.get(key);
    if (ofTemplate === undefined) seen.set(key, (ofTemplate = new Map()));
    const node = JSON.stringify(template.nodeArgs.map((arg) => task.values[template.names.indexOf(arg)]));
    const twin = ofTemplate.get(node);
    if (twin !== undefined) {
      const args = template.nodeArgs.length === 0 ? 'no node arguments' : `the same node arguments ${node.slice(0, 200)}`;
      const sentence = `tasks ${named([twin, task])} of template '${template.name}' have ${args}; node arguments must tell tasks apart`;
      throw refusal('same_node_args', [twin, task], sentence);
    }
    ofTemplate.set(node, task);
    checkTexts(task);
  }
}

/** What no column and no command line can hold: the server would refuse it, but only when the workflow is written already. */
function checkTexts(task: Task): void {
  const { template } = task;
  template.names.forEach((arg, i) => {
    if (task.values[i]!.length > ARG_CHARS_MAX && !template.opArgs.includes(arg)) {
      const sentence = `task '${task.name}': argument '${arg}' has ${task.values[i]!.length} characters, ${ARG_CHARS_MAX} is the limit`;
      throw refusal('too_long', [task], sentence);
    }
  });
  const { command } = task;
  // A UTF-16 unit makes at most three bytes.
  const bytes = command.length * 3 > COMMAND_BYTES_MAX ? Buffer.byteLength(command) : 0;
  if (bytes > COMMAND_BYTES_MAX) {
    throw refusal('too_long', [task], `task '${task.name}': the command has ${bytes} bytes, ${COMMAND_BYTES_MAX} is the limit`);
  }
  if (command.includes('\0')) {
    const sentence = `task ${JSON.stringify(task.name)}: the command holds the character NUL, which ends a command line`;
    throw refusal('nul_in_command', [task], sentence);
  }
}

/** The same edges, seen from their other end. */
function turned({ offsets, targets }: Graph): Graph {
  const count = offsets.length - 1;
  const starts = new Uint32Array(count + 1);
  for (const target of targets) starts[target + 1]!++;
  for (let i = 0; i < count; i++) starts[i + 1]! += starts[i]!;
  const next = starts.slice();
  const sources = new Uint32Array(targets.length);
  for (let i = 0; i < count; i++) for (let at = offsets[i]!; at < offsets[i + 1]!; at++) sources[next[targets[at]!]!++] = i;
  return { offsets: starts, targets: sources };
}

/** Takes away, again and again, what waits for nothing; if anything is left, it holds a cycle, which is named. */
function checkCycle(tasks: readonly Task[], upstreams: Graph, downstreams: Graph): void {
  const waits = new Uint32Array(tasks.length);
  const ready: number[] = [];
  for (let i = 0; i < tasks.length; i++) {
    waits[i] = upstreams.offsets[i + 1]! - upstreams.offsets[i]!;
    if (waits[i] === 0) ready.push(i);
  }
  let taken = 0;
  for (let task = ready.pop(); task !== undefined; task = ready.pop()) {
    taken++;
    for (let at = downstreams.offsets[task]!; at < downstreams.offsets[task + 1]!; at++) {
      const downstream = downstreams.targets[at]!;
      if (--waits[downstream]! === 0) ready.push(downstream);
    }
  }
  if (taken === tasks.length) return;
  const cycle = cycleIn(waits, upstreams).map((position) => tasks[position]!);
  const way = [...cycle.slice(0, NAMED_MAX), ...(cycle.length > NAMED_MAX ? [] : cycle.slice(0, 1))].map(
    (task) => `'${task.name}'`,
  );
  const sentence = `the graph has a cycle: ${way.join(' waits for ')}${cycle.length > NAMED_MAX ? ' …' : ''}`;
  throw refusal('cycle', cycle, sentence);
}

/** Walks from a waiting task to one it waits for until a task comes up twice; answers that round. */
function cycleIn(waits: Uint32Array, upstreams: Graph): number[] {
  const visited = new Map<number, number>();
  const way: number[] = [];
  let at = waits.findIndex((count) => count > 0);
  while (!visited.has(at)) {
    visited.set(at, way.length);
    way.push(at);
    const own = upstreams.targets.subarray(upstreams.offsets[at]!, upstreams.offsets[at + 1]!);
    at = own.find((upstream) => waits[upstream]! > 0)!;
  }
  return way.slice(visited.get(at));
}
