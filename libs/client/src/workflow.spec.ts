/** Rules that are checked without a server: the connection of this spec leads nowhere, and nothing may try it. */
import { JobmonError } from '@jobmon/contracts';
import type { BrokenRule } from './graph';
import { graphOf } from './graph';
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
  expect(byTool.resourcesOf(task)).toEqual({ cluster: 'tool', queue: undefined, requested: { cores: 1, memory: 1 } });
  expect(byWorkflow.resourcesOf(task)).toEqual({ cluster: 'workflow', queue: 'q', requested: { cores: 1, memory: 3 } });
  const ownTask = own.createTask({ a: 1 }, { clusterName: 'task', computeResources: { cores: 4 } });
  expect(byWorkflow.resourcesOf(ownTask)).toEqual({ cluster: 'task', queue: 'q', requested: { cores: 4, memory: 2 } });
  expect(byWorkflow.resourcesOf(own.createTask({ a: 2 })).cluster).toBe('template');
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
