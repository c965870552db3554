import type { ClusterView } from '@jobmon/contracts';
import type { BrokenRule } from './graph';
import { heldAgainstQueues, queueLimits } from './queue-limit';
import type { RunSettings, Task } from './task';
import { ResourcesOfTasks } from './task-resources';
import { Tool } from './tool';

const queue = (queue_id: number, name: string, parameters: string) => ({ queue_id, name, parameters });
const CLUSTERS: ClusterView[] = [
  {
    cluster_id: 1,
    name: 'slurm',
    cluster_type: 'slurm',
    queues: [queue(1, 'short.q', `{'memory': (1, 4), "cores": [1, 8]}`), queue(2, 'long.q', '{}')],
  },
];
const tool = new Tool('queues', { defaultClusterName: 'slurm' });
const template = tool.getTaskTemplate('t', '{a}');

function hold(settings: readonly RunSettings[], isStrict = true) {
  const tasks = settings.map((one, a) => template.createTask({ a }, { name: `task_${a}`, ...one }));
  const resources = new ResourcesOfTasks(tool.createWorkflow());
  const asked = new Map(tasks.map((task) => [task, resources.of(task)]));
  const held = heldAgainstQueues(CLUSTERS, tasks, (task: Task) => asked.get(task)!, isStrict);
  return tasks.map((task) => held.get(asked.get(task)!)!);
}

test('the parameters of a queue are read in Python’s notation and in JSON; rubbish bounds nothing', () => {
  expect(queueLimits(`{"cores": (1,20)}`)).toEqual({ cores: [1, 20] });
  expect(queueLimits(`{'memory': [0.5, 4], 'runtime':(10 , 20)}`)).toEqual({ memory: [0.5, 4], runtime: [10, 20] });
  for (const text of ['', 'null', '{}', '{"memory": 4}', '(((']) expect(queueLimits(text)).toEqual({});
});

test('what fits passes; what nobody says is not bounded', () => {
  const [first, second] = hold([{ computeResources: { memory: 4, queue: 'short.q' } }, {}]);
  expect(first!.requested).toEqual({ memory: 4 });
  expect(second!.requested).toEqual({});
  expect(hold([{ computeResources: { memory: 400, queue: 'long.q' }, fallbackQueues: ['short.q'] }])).toHaveLength(1);
});

test.each<[RunSettings, BrokenRule['rule'], string]>([
  [{ clusterName: 'lsf' }, 'unknown_cluster', "there is no cluster 'lsf' (task 'task_1'); the server has slurm"],
  [
    { computeResources: { queue: 'x.q' } },
    'unknown_queue',
    "cluster 'slurm' has no queue 'x.q' (task 'task_1'); it has short.q, long.q",
  ],
  [{ fallbackQueues: ['long.q', 'y.q'] }, 'unknown_queue', "has no queue 'y.q' (task 'task_1')"],
  [
    { computeResources: { memory: 5 } },
    'queue_limit',
    "queue 'short.q' of cluster 'slurm' gives memory from 1 to 4, not 5 (task 'task_1')",
  ],
  [{ computeResources: { memory: '256M' } }, 'queue_limit', 'gives memory from 1 to 4, not 0.25'],
  [{ computeResources: { cores: 9, queue: 'short.q' } }, 'queue_limit', 'gives cores from 1 to 8, not 9'],
])('%j is refused as %s', (settings, rule, sentence) => {
  let thrown: { message: string; details: BrokenRule } | undefined;
  try {
    hold([{}, settings]);
  } catch (error) {
    thrown = error as typeof thrown;
  }
  expect(thrown?.message).toContain(sentence);
  expect(thrown?.details).toEqual({ rule, tasks: ['task_1'] });
});

test('without strictness it is cut to what the queue gives', () => {
  const [resources] = hold([{ computeResources: { memory: 50, cores: 9, runtime: 7 } }], false);
  expect(resources!.requested).toEqual({ memory: 4, cores: 8, runtime: 7 });
});
