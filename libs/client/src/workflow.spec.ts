/** Rules that are checked without a server: the connection of this spec leads nowhere, and nothing may try it. */
import { JobmonError } from '@jobmon/contracts';
import type { BrokenRule } from './graph';
import { graphOf, templateLimits } from './graph';
import { Connection } from './send';
import type { Task } from './task';
import { Tool } from './tool';
import type { Workflow } from './workflow';

const nowhere = new Connection({ url: 'http://127.0.0.1:1' });
const tool = new Tool('spec', { connection: nowhere, defaultClusterName: 'dummy' });
const template = tool.getTaskTemplate('t', 'echo {a} {b} {c}', { taskArgs: ['b'], opArgs: ['c'] });
const make = (a: string | number, upstreams: Task[] = []): Task =>
  template.createTask({ a, b: 0, c: 0 }, { name: `task_${a}`, upstreams });

async function refused(workflow: Workflow): Promise<{ message: string } & BrokenRule> {
  const [validated, bound] = await Promise.all(
    [workflow.validate(), workflow.bind()].map((call) => call.then(() => undefined).catch((error: unknown) => error)),
  );
  expect(validated).toBeInstanceOf(JobmonError);
  const error = validated as JobmonError;
  expect(error.code).toBe('MALFORMED');
  expect((bound as JobmonError).message).toBe(error.message);
  return { message: error.message, ...(error.details as BrokenRule) };
}

describe('a workflow is refused before anything is written', () => {
  test('no tasks', async () => {
    expect(await refused(tool.createWorkflow())).toMatchObject({ rule: 'no_tasks', tasks: [] });
  });

  test('an edge to a task that is not in it', async () => {
    const workflow = tool.createWorkflow();
    workflow.addTask(make(2, [make(1)]));
    const { message, ...broken } = await refused(workflow);
    expect(broken).toEqual({ rule: 'edge_outside', tasks: ['task_2', 'task_1'] });
    expect(message).toContain("task 'task_2' waits for task 'task_1', which is not in the workflow");
  });

  test('a cycle, which is named', async () => {
    const workflow = tool.createWorkflow();
    const tasks = [1, 2, 3, 4, 5].map((a) => make(a));
    workflow.addTasks(tasks);
    tasks[1]!.addUpstream(tasks[0]!);
    tasks[2]!.addUpstream(tasks[1]!);
    tasks[3]!.addUpstream(tasks[2]!);
    tasks[1]!.addUpstream(tasks[3]!);
    tasks[4]!.addUpstream(tasks[3]!);
    const { message, rule, tasks: named } = await refused(workflow);
    expect(rule).toBe('cycle');
    expect([...named].sort()).toEqual(['task_2', 'task_3', 'task_4']);
    expect(message).toBe("the graph has a cycle: 'task_2' waits for 'task_4' waits for 'task_3' waits for 'task_2'");
  });

  test('a task that waits for itself', async () => {
    const workflow = tool.createWorkflow();
    const task = workflow.addTask(make(1));
    task.addUpstream(task);
    expect((await refused(workflow)).message).toContain("'task_1' waits for 'task_1'");
  });

  test('a long cycle is cut off', async () => {
    const workflow = tool.createWorkflow();
    const tasks = Array.from({ length: 100 }, (_, a) => workflow.addTask(make(a)));
    tasks.forEach((task, i) => task.addUpstream(tasks[(i + 1) % 100]!));
    const { message, tasks: named } = await refused(workflow);
    expect(named).toHaveLength(10);
    expect(message).toMatch(/ …$/);
  });

  test('the same node arguments twice, whatever the other arguments and the template object', async () => {
    const workflow = tool.createWorkflow();
    workflow.addTask(make('x'));
    const again = tool.getTaskTemplate('t', 'echo {a} {b} {c}', { taskArgs: ['b'], opArgs: ['c'] });
    workflow.addTask(again.createTask({ a: 'x', b: 1, c: 1 }, { name: 'twin' }));
    expect(await refused(workflow)).toMatchObject({
      rule: 'same_node_args',
      tasks: ['task_x', 'twin'],
      message: expect.stringContaining("'task_x', 'twin' of template 't' have the same node arguments [\"x\"]"),
    });
  });

  test('values that do not fit their columns', async () => {
    const workflow = tool.createWorkflow();
    workflow.addTask(template.createTask({ a: 'x'.repeat(2_049), b: 1, c: 1 }));
    expect((await refused(workflow)).rule).toBe('too_long');
    const other = tool.createWorkflow();
    other.addTask(template.createTask({ a: 1, b: 1, c: '😀'.repeat(16_400) }));
    expect((await refused(other)).message).toMatch(/the command has 656\d\d bytes, 65535 is the limit/);
    graphOf([template.createTask({ a: 1, b: 1, c: 'x'.repeat(65_000) })]);
  });

  test('a command that no shell could be given', async () => {
    const workflow = tool.createWorkflow();
    workflow.addTask(template.createTask({ a: 1, b: 'x\0y', c: 1 }, { name: 'cut' }));
    expect(await refused(workflow)).toMatchObject({ rule: 'nul_in_command', tasks: ['cut'] });
  });

  test('resources that only together break a rule, naming the task', async () => {
    const workflow = tool.createWorkflow();
    workflow.addTask(
      template.createTask({ a: 1, b: 1, c: 1 }, { name: 'grows', resourceScales: { memory: (old: number) => old + 1 } }),
    );
    expect(await refused(workflow)).toMatchObject({
      rule: 'bad_resources',
      tasks: ['grows'],
      message:
        "task 'grows': the scale of memory: the function is given the old value, and the task asks for no memory; ask for some",
    });
  });

  test('a task without a cluster', async () => {
    const bare = new Tool('bare', { connection: nowhere });
    const workflow = bare.createWorkflow();
    workflow.addTask(bare.getTaskTemplate('t', 'x').createTask({}, { name: 'homeless' }));
    expect(await refused(workflow)).toMatchObject({ rule: 'no_cluster', tasks: ['homeless'] });
  });
});

test('attempts and resources: task over template over workflow over tool', () => {
  const given = new Tool('t', {
    defaultMaxAttempts: 5,
    defaultComputeResources: { cores: 1, memory: 1 },
    defaultClusterName: 'tool',
  });
  const plain = given.getTaskTemplate('plain', 'echo {a}');
  const own = given.getTaskTemplate('own', 'echo {a}', {
    maxAttempts: 7,
    defaultClusterName: 'template',
    defaultComputeResources: { memory: '2G' },
  });
  const byTool = given.createWorkflow();
  const byWorkflow = given.createWorkflow({
    defaultMaxAttempts: 6,
    defaultClusterName: 'workflow',
    defaultComputeResources: { queue: 'q', memory: 3 },
  });
  const task = plain.createTask({ a: 1 });
  expect(byTool.maxAttemptsOf(task)).toBe(5);
  expect(byWorkflow.maxAttemptsOf(task)).toBe(6);
  expect(byWorkflow.maxAttemptsOf(own.createTask({ a: 1 }))).toBe(7);
  expect(byWorkflow.maxAttemptsOf(own.createTask({ a: 1 }, { maxAttempts: 8 }))).toBe(8);
  expect(new Tool('x').createWorkflow().maxAttemptsOf(task)).toBe(3);
  expect(byTool.resourcesOf(task)).toMatchObject({ cluster: 'tool', queue: undefined, requested: { cores: 1, memory: 1 } });
  expect(byWorkflow.resourcesOf(task)).toMatchObject({ cluster: 'workflow', queue: 'q', requested: { cores: 1, memory: 3 } });
  const ownTask = own.createTask({ a: 1 }, { clusterName: 'task', computeResources: { cores: 4 } });
  expect(byWorkflow.resourcesOf(ownTask)).toMatchObject({ cluster: 'task', queue: 'q', requested: { cores: 4, memory: 2 } });
  expect(byWorkflow.resourcesOf(own.createTask({ a: 2 })).cluster).toBe('template');
});

describe('limits', () => {
  const limited = (limit?: number) => template.createTasks({ a: [1, 2], b: 0, c: 0 }, { maxConcurrentlyRunning: limit });

  test('of a template: what the workflow says by name, else what its matrices say', () => {
    const [key] = templateLimits(limited(3), new Map()).keys();
    expect(templateLimits(limited(3), new Map())).toEqual(new Map([[key, 3]]));
    expect(templateLimits(limited(3), new Map([['t', 7]]))).toEqual(new Map([[key, 7]]));
    expect(templateLimits(limited(), new Map())).toEqual(new Map());
    expect(templateLimits([...limited(3), ...limited(3), make(9)], new Map())).toEqual(new Map([[key, 3]]));
  });

  test('two that differ, and one of a template without tasks, are refused', async () => {
    const twice = tool.createWorkflow();
    twice.addTasks(limited(3));
    twice.addTasks(template.createTasks({ a: [3], b: 0, c: 0 }, { maxConcurrentlyRunning: 4 }));
    expect((await refused(twice)).message).toContain("template 't' are one array, and two limits are given for it: 3 and 4");
    const misspelt = tool.createWorkflow();
    misspelt.addTasks(limited());
    misspelt.setTaskTemplateMaxConcurrencyLimit('tt', 4);
    expect((await refused(misspelt)).message).toContain("the template 'tt', of which there are no tasks; there are tasks of t");
  });

  test.each([-1, 1.5, NaN, 2 ** 31])('%d is refused everywhere', (limit) => {
    const rule = 'maxConcurrentlyRunning must be a whole number from 0 to';
    expect(() => tool.createWorkflow({ maxConcurrentlyRunning: limit })).toThrow(rule);
    expect(() => tool.createWorkflow().setMaxConcurrentlyRunning(limit)).toThrow(rule);
    expect(() => tool.createWorkflow().setTaskTemplateMaxConcurrencyLimit('t', limit)).toThrow(rule);
    expect(() => limited(limit)).toThrow(rule);
  });
});

test.each([
  [{ priority: 1_001 }, 'priority must be a whole number from -1000 to 1000'],
  [{ priority: 0.5 }, 'priority must be'],
  [{ name: 'x'.repeat(256) }, 'the name of a workflow has 256 characters, 255 is the limit'],
  [{ description: 'x'.repeat(16_001) }, 'the description of a workflow has 16001 characters'],
  [{ workflowAttributes: { a: 'x'.repeat(256) } }, "the attribute 'a' of the workflow has 256 characters"],
  [{ workflowAttributes: { a: 1 as unknown as string } }, "the attribute 'a' of the workflow must be text, not number"],
  [{ workflowAttributes: { '': 'x' } }, 'the name of an attribute of the workflow must not be empty'],
  [{ workflowArgs: 'x\0' }, 'workflowArgs must not hold the character NUL'],
])('a workflow with %j is refused where it is made', (options, sentence) => {
  expect(() => tool.createWorkflow(options)).toThrow(sentence);
});

test('a task is in one workflow', () => {
  const task = make(1);
  const workflow = tool.createWorkflow();
  expect(workflow.addTask(workflow.addTask(task))).toBe(task);
  expect(() => tool.createWorkflow().addTask(task)).toThrow("task 'task_1' is in another workflow already");
});

test('tasks are found by their node arguments, in their order, and those added later too', () => {
  const workflow = tool.createWorkflow();
  const pairs = tool.getTaskTemplate('pair', '{x} {y} {z}', { taskArgs: ['z'] });
  const all = workflow.addTasks(pairs.createTasks({ x: [1, 2, 3], y: ['a', 'b'], z: 0 }));
  const names = (found: Task[]): string[] => found.map(({ command }) => command);
  expect(names(workflow.getTasksByNodeArgs('pair', { x: 2 }))).toEqual(['2 a 0', '2 b 0']);
  expect(names(workflow.getTasksByNodeArgs('pair', { y: ['b', 'a'], x: new Set(['3', 1]) }))).toEqual([
    '1 a 0',
    '1 b 0',
    '3 a 0',
    '3 b 0',
  ]);
  expect(workflow.getTasksByNodeArgs('pair')).toEqual(all);
  expect(workflow.getTasksByNodeArgs('pair', { x: 4 })).toEqual([]);
  workflow.addTask(pairs.createTask({ x: 4, y: 'a', z: 0 }));
  expect(names(workflow.getTasksByNodeArgs('pair', { x: 4 }))).toEqual(['4 a 0']);
  expect(() => workflow.getTasksByNodeArgs('par')).toThrow("no tasks of a template 'par'; it has tasks of pair");
  expect(() => workflow.getTasksByNodeArgs('pair', { z: 0 })).toThrow(
    "'z' is no node argument of the template 'pair'; it has x, y",
  );
});

test('workflows without arguments are each their own; empty arguments count as none', () => {
  expect(tool.createWorkflow().workflowArgs).not.toBe(tool.createWorkflow().workflowArgs);
  expect(tool.createWorkflow({ workflowArgs: '' }).workflowArgs).not.toBe('');
  expect(tool.createWorkflow({ workflowArgs: 'v1' }).workflowArgs).toBe('v1');
});

test('a graph is the same edges from both ends', () => {
  const tasks = [0, 1, 2, 3].map((a) => make(a));
  tasks[3]!.addUpstreams([tasks[0]!, tasks[2]!]);
  tasks[1]!.addUpstream(tasks[0]!);
  const { upstreams, downstreams } = graphOf(tasks);
  expect([...upstreams.offsets]).toEqual([0, 0, 1, 1, 3]);
  expect([...upstreams.targets]).toEqual([0, 0, 2]);
  expect([...downstreams.offsets]).toEqual([0, 2, 2, 3, 3]);
  expect([...downstreams.targets]).toEqual([1, 3, 3]);
});
