/** What right files make: groups, edges, names, values as they are written, settings by precedence; and the schema for editors. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Resources, Scales, TaskGroup, Template, WorkflowDescription, workflowFileSchemaText } from './schema';
import { readWorkflowFile, type WorkflowFile, type WorkflowFileOptions } from './workflow-file';

const ROOT = path.join(__dirname, '..', '..', '..', '..');

let folder: string;
beforeAll(() => (folder = mkdtempSync(path.join(tmpdir(), 'jobmon-plan-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(text: string, options?: WorkflowFileOptions, name = 'flow.yaml'): WorkflowFile {
  writeFileSync(path.join(folder, name), text);
  return readWorkflowFile(path.join(folder, name), options);
}

const HEAD = 'tool: spec\ncluster: dummy\n';
const edgesOf = (file: WorkflowFile): Record<string, string[]> =>
  Object.fromEntries([...file.createWorkflow().tasks].map((task) => [task.name, [...task.upstreams].map(({ name }) => name)]));

test('tasks match those that they need by the values that both have; what only one has fans in or out', () => {
  const file = fileOf(`${HEAD}
tasks:
  prepare: {command: ./prepare.sh}
  fit: {command: "fit {l} {y}", matrix: {l: [a, b], y: [1, 2]}, needs: prepare}
  sum: {command: "sum {l}", matrix: {l: [a, b]}, needs: [fit]}
  smooth: {command: "smooth {l} {y}", matrix: {l: [a, b], y: [1, 2]}, needs: {task: fit, match: [l]}}
  check: {command: "check {l} {y}", matrix: [{l: a, y: 2}], needs: [fit, {task: sum, match: all}]}
  report: {command: report, needs: [sum, smooth, check]}
`);
  expect(edgesOf(file)).toEqual({
    prepare: [],
    'fit_l-a_y-1': ['prepare'],
    'fit_l-a_y-2': ['prepare'],
    'fit_l-b_y-1': ['prepare'],
    'fit_l-b_y-2': ['prepare'],
    'sum_l-a': ['fit_l-a_y-1', 'fit_l-a_y-2'],
    'sum_l-b': ['fit_l-b_y-1', 'fit_l-b_y-2'],
    'smooth_l-a_y-1': ['fit_l-a_y-1', 'fit_l-a_y-2'],
    'smooth_l-a_y-2': ['fit_l-a_y-1', 'fit_l-a_y-2'],
    'smooth_l-b_y-1': ['fit_l-b_y-1', 'fit_l-b_y-2'],
    'smooth_l-b_y-2': ['fit_l-b_y-1', 'fit_l-b_y-2'],
    'check_l-a_y-2': ['fit_l-a_y-2', 'sum_l-a', 'sum_l-b'],
    report: ['sum_l-a', 'sum_l-b', 'smooth_l-a_y-1', 'smooth_l-a_y-2', 'smooth_l-b_y-1', 'smooth_l-b_y-2', 'check_l-a_y-2'],
  });
  const plan = file.plan(2);
  expect(plan).toMatchObject({ tool: 'spec', name: 'flow', args: null, tasks: 13, edges: 26, levels: 5 });
  expect(plan.groups.map(({ name, level, tasks, needs }) => [name, level, tasks, ...needs.map((need) => need.edges)])).toEqual([
    ['prepare', 1, 1],
    ['fit', 2, 4, 4],
    ['sum', 3, 2, 4],
    ['smooth', 3, 4, 8],
    ['check', 4, 1, 1, 2],
    ['report', 5, 1, 2, 4, 1],
  ]);
  expect(plan.first_commands).toEqual([
    { name: 'prepare', task: 'prepare', resources: {}, command: './prepare.sh' },
    { name: 'fit_l-a_y-1', task: 'fit', resources: {}, command: 'fit a 1' },
  ]);
});

test('values are taken as they are written; ranges hold both ends; names are made of what names may hold', () => {
  const file = fileOf(`${HEAD}args: 2026.10
attributes: {release: 007}
tasks:
  a:
    command: "{v} {{{w}}} {y}"
    matrix: {v: [007, 1.10, 1e3, 0x1F, true, 12345678901234567890, "a b/c", ""], y: {from: 1990, to: 1995, step: 5}}
    args: {w: 1.50}
    attributes: {n: 1.0}
  b: {command: "b {x}", matrix: [{x: 1}, {x: 01}], name: "{x}_of_b"}
`);
  const workflow = file.createWorkflow();
  expect(workflow).toMatchObject({ workflowArgs: '2026.10', name: 'flow', workflowAttributes: { release: '007' } });
  const tasks = [...workflow.tasks];
  expect(tasks.filter((_, i) => i % 2 === 0).map(({ command }) => command)).toEqual([
    '007 {1.50} 1990',
    '1.10 {1.50} 1990',
    '1e3 {1.50} 1990',
    '0x1F {1.50} 1990',
    'true {1.50} 1990',
    '12345678901234567890 {1.50} 1990',
    'a b/c {1.50} 1990',
    ' {1.50} 1990',
    'b 1',
  ]);
  expect(tasks[1]!.command).toBe('007 {1.50} 1995');
  expect(tasks[0]!.attributes).toEqual({ n: '1.0' });
  expect(tasks.map(({ name }) => name).slice(12)).toEqual([
    'a_v-a_b_c_y-1990',
    'a_v-a_b_c_y-1995',
    'a_v-_y-1990',
    'a_v-_y-1995',
    '_1_of_b',
    '_01_of_b',
  ]);
});

test('the nearest giver wins, entry by entry: task, template, defaults, included files; those of the cluster before the rest', () => {
  writeFileSync(
    path.join(folder, 'site.yaml'),
    'tool_resources: {dummy: {cores: 1, memory: 1G, runtime: 1:30, queue: old.q, odd: 7}, slurm: {memory: 9G}}\n' +
      'task_template_resources: {fit: {dummy: {memory: 3G}}, other: {dummy: {memory: 99G}}}\n',
  );
  writeFileSync(
    path.join(folder, 'mine.yaml'),
    'include: site.yaml\ntool_resources: {spec: {dummy: {queue: null.q, project: p}}}\n' + 'tol_scales: {}\n',
  );
  const text = `${HEAD}include: [mine.yaml]
defaults: {max_attempts: 5, resources: {memory: 2G, slurm: {memory: 8G}}}
templates:
  fit: {command: "{n}", max_attempts: 2, resources: {cores: 2, dummy: {runtime: 10m}}}
tasks:
  plain: {command: a}
  fit: {args: {n: 1}}
  big: {template: fit, args: {n: 2}, resources: {memory: 512M, dummy: {cores: 4}}, max_attempts: 7}
  far: {command: b, cluster: slurm}
`;
  const file = fileOf(text);
  const settings = (one: WorkflowFile) =>
    Object.fromEntries(
      one
        .plan()
        .groups.map(({ name, cluster, queue, resources, max_attempts }) => [name, [cluster, queue, resources, max_attempts]]),
    );
  const site = { odd: 7, project: 'p' };
  expect(settings(file)).toEqual({
    plain: ['dummy', 'null.q', { ...site, cores: 1, memory: 2, runtime: 90 }, 5],
    fit: ['dummy', 'null.q', { ...site, cores: 2, memory: 3, runtime: 600 }, 2],
    big: ['dummy', 'null.q', { ...site, cores: 4, memory: 0.5, runtime: 600 }, 7],
    far: ['slurm', null, { memory: 8 }, 5],
  });
  expect(file.notices.map(({ file: name, line, message }) => [path.basename(name), line, message])).toEqual([
    ['mine.yaml', 3, "the key 'tol_scales' is not read; did you mean 'tool_scales'?"],
  ]);
  expect(settings(fileOf(text, { clusterName: 'slurm' })).far).toEqual(['slurm', null, { memory: 8 }, 5]);
  expect(settings(fileOf(text, { clusterName: 'slurm' })).fit).toEqual(['slurm', null, { memory: 8, cores: 2 }, 2]);
});

test('scales and fallback queues as they are sent: nearer ones by entries, text as figures, half as much again beneath', () => {
  const file =
    fileOf(`${HEAD}defaults: {scales: {memory: 1, dummy: {runtime: 0}}, fallback_queues: [a.q, b.q], resources: {memory: 1G, cores: 1}}
tasks:
  a: {command: a}
  b: {command: b, scales: {memory: [2G, 4096M], cores: [2]}, fallback_queues: [], max_attempts: 4}
  c: {command: c, scales: {dummy: {runtime: [1h, '02:00:00']}}}
`);
  expect(file.plan().groups.map(({ scales, fallback_queues }) => [scales, fallback_queues])).toEqual([
    [{ memory: 1, runtime: 0 }, ['a.q', 'b.q']],
    [{ memory: [2, 4], runtime: 0, cores: [2] }, []],
    [{ memory: 1, runtime: [3_600, 7_200] }, ['a.q', 'b.q']],
  ]);
});

test('anchors, merge keys and keys that begin with x- are for people to save words', () => {
  const file = fileOf(`x-small: &small {cores: 1, memory: 1G}
x-list: &years [1990, 01995]
tool: spec
cluster: dummy
tasks:
  a: {command: "{y}", matrix: {y: *years}, resources: {<<: *small, memory: 2G}}
  b: {command: "b {y}", matrix: {y: *years}, resources: {<<: [*small, {runtime: 5}]}}
`);
  expect(file.plan().groups.map(({ resources }) => resources)).toEqual([
    { cores: 1, memory: 2 },
    { cores: 1, memory: 1, runtime: 5 },
  ]);
  expect(file.plan().first_commands.map(({ command }) => command)).toEqual(['1990', '01995', 'b 1990', 'b 01995']);
});

test('JSON is read as well, tabs and all', () => {
  const text =
    '{\n\t"$schema": "workflow-file.schema.json",\n\t"tool": "spec", "cluster": "dummy",\n\t"tasks": {"a": {"command": "echo \\u0061 \\"{n}\\"", "matrix": {"n": [1, 2.50]}}}\n}\n';
  expect(
    fileOf(text, {}, 'flow.json')
      .plan()
      .first_commands.map(({ command }) => command),
  ).toEqual(['echo a "1"', 'echo a "2.50"']);
});

test('args on the command line go before those of the file', () => {
  expect(fileOf(`${HEAD}args: a\ntasks: {a: {command: b}}\n`, { workflowArgs: 'b' }).workflowArgs).toBe('b');
  expect(fileOf(`${HEAD}tasks: {a: {command: b}}\n`).workflowArgs).toBeUndefined();
});

test('values beside the file go before those under args, in all tasks that have them; others are refused', () => {
  const text = `${HEAD}tasks:\n  a: {command: '{n} {m}', args: {n: 1, m: 2}}\n  b: {command: 'b {n}', args: {n: 3}}\n`;
  const values = { n: '007 {x}' };
  expect([...fileOf(text, { values }).createWorkflow().tasks].map(({ command }) => command)).toEqual(['007 {x} 2', 'b 007 {x}']);
  expect(() => fileOf(text, { values: { k: '1' } })).toThrow(
    "flow.yaml:3:1: no task has an argument 'k' under 'args' that --set could replace; there are n, m",
  );
});

test('the files that docs/workflow-files.md shows are right, and the page has every key', () => {
  const page = readFileSync(path.join(ROOT, 'docs', 'workflow-files.md'), 'utf8');
  const shown = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)].map(([, text]) => text!);
  writeFileSync(
    path.join(folder, 'site-resources.yaml'),
    shown.find((text) => text.startsWith('tool_resources'))!,
  );
  const files = shown.filter((text) => /^tool:/m.test(text));
  expect(files.map((text) => fileOf(text).plan()).map(({ tasks, edges, levels }) => [tasks, edges, levels])).toEqual([
    [4, 3, 2],
    [26, 46, 4],
    [10, 2, 2],
  ]);
  const keys = [WorkflowDescription, Template, TaskGroup, Resources, Scales].flatMap(({ shape }) => Object.keys(shape));
  expect(keys.filter((key) => !new RegExp(`(^|[^a-z_])${key.replace('$', '\\$')}([^a-z_]|$)`, 'm').test(page))).toEqual([]);
});

test('the committed schema is that of this version (npm run docs writes it)', () => {
  const file = path.join(ROOT, 'docs', 'workflow-file.schema.json');
  expect(readFileSync(file, 'utf8')).toBe(workflowFileSchemaText());
});
