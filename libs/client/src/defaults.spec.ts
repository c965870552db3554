/** Who says what tasks ask for: tool, workflow, template, array, task, in words and in files. Asks no server. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readResourceFile, ResourceFile } from './resource-file';
import type { Task } from './task';
import { Tool } from './tool';

const asked = (task: Task, workflow = new Tool('empty').createWorkflow()) => {
  const { cluster, queue, requested, resourceScales, fallbackQueues } = workflow.resourcesOf(task);
  return { cluster, queue, fallbackQueues, scales: resourceScales, ...requested };
};

test('task before array before template before workflow before tool, entry by entry', () => {
  const levels = (level: number) => ({
    memory: level,
    runtime: level,
    cores: level,
    queue: `q${level}`,
    [`only${level}`]: level,
  });
  const scales = (level: number) => ({ memory: level, [`only${level}`]: level });
  const tool = new Tool('t', {
    defaultClusterName: 'c',
    defaultMaxAttempts: 11,
    defaultComputeResources: levels(1),
    defaultResourceScales: scales(1),
  });
  const workflow = tool.createWorkflow({
    defaultMaxAttempts: 12,
    defaultComputeResources: { memory: 2 },
    defaultResourceScales: { only2: 2 },
  });
  const template = tool.getTaskTemplate('t', '{a}', {
    maxAttempts: 13,
    defaultComputeResources: { memory: 3, runtime: 3 },
    defaultResourceScales: { memory: 3 },
  });
  const [task] = template.createTasks(
    { a: [1] },
    {
      maxAttempts: 14,
      computeResources: { memory: 4, cores: 4 },
      resourceScales: { memory: 4 },
      fallbackQueues: ['f'],
      each: () => ({ maxAttempts: 15 }),
    },
  );
  expect(workflow.maxAttemptsOf(task!)).toBe(15);
  expect(workflow.maxAttemptsOf(template.createTasks({ a: [1] }, { maxAttempts: 14 })[0]!)).toBe(14);
  expect(workflow.maxAttemptsOf(template.createTask({ a: 1 }))).toBe(13);
  expect(workflow.maxAttemptsOf(tool.getTaskTemplate('u', 'x').createTask())).toBe(12);
  task!.updateComputeResources({ memory: '5G' });
  task!.updateResourceScales({ memory: 5 });
  expect(asked(task!, workflow)).toEqual({
    cluster: 'c',
    queue: 'q1',
    fallbackQueues: ['f'],
    memory: 5,
    cores: 4,
    runtime: 3,
    only1: 1,
    scales: { memory: 5, runtime: 0.5, only1: 1, only2: 2 },
  });
  const plain = template.createTasks({ a: [1] }, { computeResources: { memory: 4 } })[0]!;
  expect(asked(plain, workflow)).toMatchObject({ memory: 4, runtime: 3, scales: { memory: 3 } });
  expect(asked(template.createTask({ a: 1 }), workflow)).toMatchObject({ memory: 3, runtime: 3 });
  expect(asked(tool.getTaskTemplate('u', 'x').createTask(), workflow)).toMatchObject({
    memory: 2,
    runtime: 1,
    scales: { only2: 2 },
  });
});

test('what is said for one cluster holds there alone, and replaces what is said for all', () => {
  const tool = new Tool('t', {
    defaultClusterName: 'slurm',
    defaultComputeResources: { memory: 1, runtime: 10 },
    defaultComputeResourcesSet: { slurm: { memory: 8, queue: 'long.q' } },
    defaultResourceScalesSet: { slurm: { memory: [9] } },
  });
  const task = tool.getTaskTemplate('t', 'x').createTask();
  const workflow = tool.createWorkflow();
  expect(asked(task, workflow)).toMatchObject({ queue: 'long.q', memory: 8, runtime: 10, scales: { memory: [9] } });
  workflow.defaults.setClusterName('sequential');
  expect(asked(task, workflow)).toMatchObject({ queue: undefined, memory: 1, runtime: 10, scales: { memory: 0.5 } });
});

test('an update merges, a setting replaces', () => {
  const tool = new Tool('t', { defaultClusterName: 'c' });
  const task = tool.getTaskTemplate('t', 'x').createTask();
  tool.defaults.setComputeResources('c', { memory: 1, cores: 2 });
  tool.defaults.updateComputeResources('c', { memory: 3 });
  tool.defaults.setResourceScales('c', { memory: 1, cores: 2 });
  tool.defaults.updateResourceScales('c', { memory: 3 });
  expect(asked(task, tool.createWorkflow())).toMatchObject({ memory: 3, cores: 2, scales: { memory: 3, cores: 2 } });
  tool.defaults.setComputeResources('c', { runtime: '1m' });
  expect(asked(task, tool.createWorkflow())).toEqual(expect.not.objectContaining({ memory: 3 }));
  expect(() => tool.defaults.updateComputeResources('c', { memory: '1X' })).toThrow('memory must be');
  expect(() => tool.defaults.setClusterName('')).toThrow('the cluster name must not be empty');
});

test('executors of the oldest clients are clusters, with one notice', () => {
  const told = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  const task = new Tool('t', { defaultClusterName: 'MultiprocessingExecutor' }).getTaskTemplate('t', 'x').createTask();
  for (let again = 0; again < 2; again++) expect(asked(task, task.template.tool.createWorkflow()).cluster).toBe('multiprocess');
  expect(told.mock.calls).toEqual([
    ["the executor 'MultiprocessingExecutor' is understood as the cluster 'multiprocess'; write that name", 'JobmonNotice'],
  ]);
  told.mockRestore();
});

describe('resource files', () => {
  const TEXT = `
tool_resources:
  slurm: {memory: 256M, runtime: 10:00:00, cores: "2", queue: long.q}
  sequential: &small {memory: 1G}
tool_scales:
  slurm: {memory: 0.3, runtime: [2h, 3h]}
task_template_resources:
  fit:
    slurm: {<<: *small, runtime: 1.5h}
task_template_scales:
  fit:
    slurm: {memory: 0.9}
something_else: [1, 2]
`;
  const file = ResourceFile.parse(TEXT, 'r.yaml');
  const nested = ResourceFile.parse(
    'tool_resources: {mine: {slurm: {memory: 3G}}}\ntask_template_resources: {mine: {fit: {slurm: {memory: 4G}}}}',
    'n.yaml',
  );

  test('are read as the Python client reads them, with units kept', () => {
    const tool = new Tool('mine', { defaultClusterName: 'slurm' });
    tool.setDefaultsFromFile(file, { setTaskTemplates: true });
    const workflow = tool.createWorkflow();
    const fit = tool.getTaskTemplate('fit', 'x');
    expect(asked(tool.getTaskTemplate('other', 'x').createTask(), workflow)).toEqual({
      cluster: 'slurm',
      queue: 'long.q',
      fallbackQueues: [],
      memory: 0.25,
      runtime: 36_000,
      cores: 2,
      scales: { memory: 0.3, runtime: [7_200, 10_800] },
    });
    expect(asked(fit.createTask(), workflow)).toMatchObject({ memory: 1, runtime: 5_400, scales: { memory: 0.9 } });
    // What the template says itself is nearer than what the tool's file says of it.
    fit.defaults.setComputeResources('slurm', { memory: 7 });
    expect(asked(fit.createTask(), workflow)).toMatchObject({ memory: 7, runtime: 5_400 });
  });

  test('do without scales, and with the name of the tool in between', () => {
    const tool = new Tool('mine', { defaultClusterName: 'slurm' });
    tool.setDefaultsFromFile(nested);
    const fit = tool.getTaskTemplate('fit', 'x', { resourceFile: nested, defaultComputeResourcesSet: { slurm: { cores: 3 } } });
    expect(asked(tool.getTaskTemplate('other', 'x').createTask(), tool.createWorkflow())).toMatchObject({ memory: 3 });
    expect(asked(fit.createTask(), tool.createWorkflow())).toMatchObject({ memory: 4, cores: 3, scales: { memory: 0.5 } });
  });

  test('say what they do not have, unless that is allowed', () => {
    const tool = new Tool('mine');
    expect(() => tool.getTaskTemplate('fiit', 'x', { resourceFile: file })).toThrow("no resources for task template 'fiit'");
    expect(() => tool.setDefaultsFromFile(file, { clusterName: 'lsf' })).toThrow(
      "no resources on cluster 'lsf' for tool 'mine'; it has those on slurm, sequential",
    );
    tool.setDefaultsFromFile(file, { clusterName: 'lsf', ignoreMissingKeys: true });
    tool.createWorkflow().setDefaultsFromFile(file, { clusterName: 'slurm' });
  });

  const bomb = `a: &a [x, x]\n${[...'bcdefghijklmnop'].map((c, i) => `${c}: &${c} [*${'abcdefghijklmnop'[i]}, *${'abcdefghijklmnop'[i]}]`).join('\n')}\ntool_resources: *p`;
  test.each([
    ['a key twice', 'tool_resources: {}\ntool_resources: {}', /r\.yaml:2:1: Map keys must be unique/],
    ['a tab', 'tool_resources:\n\tslurm: {}', /r\.yaml:2:1: Tabs are not allowed as indentation/],
    ['an open bracket', 'tool_resources: {', /r\.yaml:1:\d+: /],
    ['an unknown anchor', 'tool_resources: *nowhere', /r\.yaml.*nowhere/],
    ['a bomb', bomb, /r\.yaml: Excessive alias count/],
    ['none of the keys', 'tool_resource: {}', /r\.yaml: has none of the keys tool_resources, /],
    ['nothing', '', /has none of the keys/],
    ['a list', '[1]', /has none of the keys/],
  ])('with %s are refused', (_, text, sentence) => {
    expect(() => ResourceFile.parse(text, 'r.yaml')).toThrow(sentence);
  });

  test.each([
    ['tool_resources: {slurm: {memory: 1X}}', 'r.yaml: tool_resources.slurm: memory must be'],
    ['tool_resources: {slurm: {runtime: -1}}', 'r.yaml: tool_resources.slurm: runtime must be'],
    ['tool_resources: {slurm: {cores: 0}}', 'r.yaml: tool_resources.slurm: cores must be'],
    ['tool_resources: {slurm: 7}', 'r.yaml: tool_resources.slurm must be a map'],
    ['tool_resources: 7', 'r.yaml: tool_resources must be a map'],
    ['tool_scales: {slurm: {memory: fifty}}', 'r.yaml: tool_scales.slurm: the scale of memory: must be a number'],
  ])('with %s are refused when it is taken', (text, sentence) => {
    expect(() => new Tool('x').setDefaultsFromFile(ResourceFile.parse(text, 'r.yaml'))).toThrow(sentence);
  });

  test('are read from the disk, or not', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'resource-file-'));
    try {
      const name = path.join(folder, 'r.yaml');
      expect(() => readResourceFile(name)).toThrow(`the resource file ${name}: cannot be read (ENOENT)`);
      writeFileSync(name, TEXT);
      expect(readResourceFile(name).templateNames('mine')).toEqual(['fit']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
