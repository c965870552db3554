/** Good requests of the operations that bind tasks, and of those that people ask with afterwards (C, L); see `python-requests.ts`. */
import { Driver } from '@jobmon/contracts';
import { UNKNOWN_ID, type PythonRequest, type World } from './python-requests';

const aTask = ({ task_ids }: World): Record<string, unknown> => ({ task_id: task_ids[0] });
const aWorkflow = ({ workflow_id }: World): Record<string, unknown> => ({ workflow_id });
const allTasks = ({ task_ids }: World): Record<string, unknown> => ({ task_ids });
/** Runs that ended, of a workflow that failed: what resume and reset are for. */
const FAILED = {
  driver: Driver.CLIENT,
  tasks: 2,
  workflow_status: 'F',
  run_status: 'E',
  instance_status: 'E',
  task_status: 'F',
} as const;

/** A task to bind, by position (spec/http-api-execution.md section 2.6). */
function taskToBind(world: World, changes: Readonly<Record<number, unknown>> = {}): unknown[] {
  const { node_ids, array_id, task_resources_id } = world;
  const task = [node_ids[0], '5', array_id, task_resources_id, 'a name', 'true', 3, true, { memory: 0.5 }, ['null.q']];
  for (const [at, value] of Object.entries(changes)) task[Number(at)] = value as never;
  return task;
}

const bindOne = (world: World, changes: Readonly<Record<number, unknown>>): Record<string, unknown> => ({
  workflow_id: world.workflow_id,
  tasks: { '77': taskToBind(world, changes) },
  mark_created: false,
});

export const INSPECTION_REQUESTS: Readonly<Record<string, PythonRequest>> = {
  'task.bind': {
    good: (world) => bindOne(world, {}),
    effect: { task: [1, 0] },
    bad: (world) => ({
      'a task with nine positions': [
        { workflow_id: world.workflow_id, tasks: { '77': taskToBind(world).slice(0, 9) }, mark_created: false },
        400,
      ],
      'a task that is an object': [
        { workflow_id: world.workflow_id, tasks: { '77': { ...taskToBind(world) } }, mark_created: false },
        400,
      ],
      'a node that does not exist': [bindOne(world, { 0: UNKNOWN_ID }), 404],
      'a hash that is none': [bindOne(world, { 1: 'abc' }), 400],
      'an array that does not exist': [bindOne(world, { 2: UNKNOWN_ID }), 404],
      "another workflow's array": [bindOne(world, { 2: world.other.array_id }), 404],
      'resources that do not exist': [bindOne(world, { 3: UNKNOWN_ID }), 404],
      'a name that is too long': [bindOne(world, { 4: 'x'.repeat(256) }), 400],
      'a name that is none': [bindOne(world, { 4: {} }), 400],
      'a command that is none': [bindOne(world, { 5: [] }), 400],
      'negative attempts': [bindOne(world, { 6: -1 }), 400],
      'attempts beyond all': [bindOne(world, { 6: 2 ** 31 }), 400],
      'attempts that are none': [bindOne(world, { 6: null }), 400],
      'attempts that are a list': [bindOne(world, { 6: [] }), 400],
      'no truth': [bindOne(world, { 7: 'x' }), 400],
      'scales that are a list': [bindOne(world, { 8: [1] }), 400],
      'scales that are too long': [bindOne(world, { 8: { memory: 'x'.repeat(70_000) } }), 400],
      'queues that are no list': [bindOne(world, { 9: { a: 1 } }), 400],
      'one good task and one bad': [
        {
          workflow_id: world.workflow_id,
          tasks: { '77': taskToBind(world), '78': taskToBind(world, { 1: '6', 2: UNKNOWN_ID }) },
          mark_created: true,
        },
        404,
      ],
    }),
  },
  'task.bind_args': {
    good: ({ task_ids, arg_id }) => ({ task_args: [[task_ids[0], arg_id, 'x']] }),
    effect: { task_arg: [1, 0] },
    bad: ({ task_ids, arg_id }) => ({
      'a task that does not exist': [{ task_args: [[UNKNOWN_ID, arg_id, 'x']] }, 404],
      'an argument that does not exist': [{ task_args: [[task_ids[0], UNKNOWN_ID, 'x']] }, 404],
      'two positions': [{ task_args: [[task_ids[0], arg_id]] }, 400],
      'a value that is too long': [{ task_args: [[task_ids[0], arg_id, 'x'.repeat(2_049)]] }, 400],
      'one good value and one bad': [
        {
          task_args: [
            [task_ids[0], arg_id, 'x'],
            [UNKNOWN_ID, arg_id, 'x'],
          ],
        },
        404,
      ],
    }),
  },
  'task.bind_attributes': {
    good: ({ task_ids, mark }) => ({ task_attributes: { [String(task_ids[0])]: { [mark]: 'v' } } }),
    effect: { task_attribute: [1, 0], task_attribute_type: [1, 0] },
    bad: ({ task_ids, mark }) => ({
      'a task that does not exist': [{ task_attributes: { [UNKNOWN_ID]: { [mark]: 'v' } } }, 404],
      'a task that is none': [{ task_attributes: { x: { [mark]: 'v' } } }, 400],
      'a value that is too long': [{ task_attributes: { [String(task_ids[0])]: { [mark]: 'x'.repeat(256) } } }, 400],
      'a name that is too long': [{ task_attributes: { [String(task_ids[0])]: { ['x'.repeat(256)]: 'v' } } }, 400],
      'attributes that are a list': [{ task_attributes: { [String(task_ids[0])]: ['v'] } }, 400],
    }),
  },
  'task.add_attributes': {
    good: ({ task_ids, mark }) => ({ task_id: task_ids[0], [mark]: 'v' }),
    takes: ({ mark }) => ({ [mark]: ['number'] }),
    effect: { task_attribute: [1, 0], task_attribute_type: [1, 0] },
    bad: ({ task_ids, mark }) => ({
      'a value that is too long': [{ task_id: task_ids[0], [mark]: 'x'.repeat(256) }, 400],
      'a value that is an object': [{ task_id: task_ids[0], [mark]: {} }, 400],
    }),
  },
  'task.most_recent_error': { good: aTask },
  'task.downstream': {
    good: ({ task_ids, dag_id }) => ({ task_ids, dag_id, client_jobmon_version: '3.6.0' }),
  },
  'task.resource_usage': { good: aTask },
  'workflow.task_status_updates': {
    good: ({ workflow_id }) => ({ workflow_id, last_sync: '2026-01-01 00:00:00' }),
    takes: () => ({ last_sync: ['number', 'truth', 'list', 'odd list', 'object', 'long'] }),
  },
  'workflow.metadata': { good: aWorkflow, unknown: { workflow_id: 200 } },
  'workflow.tasks': {
    good: ({ workflow_id }) => ({ workflow_id, max_task_id: 0, chunk_size: 500 }),
    unknown: { max_task_id: 200 },
    takes: () => ({ max_task_id: ['negative'] }),
  },
  'workflow.available_statuses': { good: () => ({}) },
  'workflow.increase_resources': {
    world: { ...FAILED, instance_status: 'Z' },
    good: aWorkflow,
  },
  'workflow.task_template_dag': { good: aWorkflow, unknown: { workflow_id: 200 } },

  'array.find_tasks': { good: ({ workflow_id }) => ({ workflow_id, array_name: '', job_name: 'x', limit: 5 }) },
  'task.get_status': {
    good: ({ task_ids }) => ({ task_ids, status: ['DONE', 'RUNNING'] }),
    unknown: { task_ids: 200 },
    bad: ({ task_ids }) => ({ 'a word that is no status': [{ task_ids, status: ['x'] }, 400] }),
  },
  'task.find_subdag': {
    good: ({ task_ids }) => ({ task_ids, task_status: ['G'] }),
    unknown: { task_ids: 200 },
    bad: ({ task_ids, other }) => ({
      'no task at all': [{ task_ids: [] }, 400],
      'tasks of two workflows': [{ task_ids: [task_ids[0], other.task_ids[0]] }, 400],
    }),
  },
  'task.update_statuses': {
    world: FAILED,
    good: ({ workflow_id, task_ids }) => ({ workflow_id, task_ids, new_status: 'G', recursive: false, workflow_status: null }),
    effect: { task: [0, 2] },
    repeat: 'otherwise',
    unknown: { task_ids: 400 },
    bad: ({ workflow_id, task_ids, other }) => ({
      "another workflow's tasks": [{ workflow_id, task_ids: other.task_ids, new_status: 'G' }, 400],
      'tasks of two workflows': [{ workflow_id, task_ids: [task_ids[0], other.task_ids[0]], new_status: 'G' }, 400],
      'a status that people may not set': [{ workflow_id, task_ids, new_status: 'R' }, 400],
      'a word that is not all': [{ workflow_id, task_ids: 'some', new_status: 'G' }, 400],
    }),
  },
  'task.get_dependencies': { good: aTask },
  'task.find_recursive': {
    good: ({ task_ids }) => ({ direction: 'up', task_ids }),
    unknown: { task_ids: 400 },
    bad: ({ task_ids, other }) => ({
      'a direction that is none': [{ direction: 'sideways', task_ids }, 400],
      'tasks of two workflows': [{ direction: 'up', task_ids: [task_ids[0], other.task_ids[0]] }, 400],
    }),
  },
  'task.get_instance_details': { good: aTask },
  'task.get_details': { good: aTask },

  'task_template.get_details': {
    good: ({ workflow_id, task_template_id }) => ({ workflow_id, task_template_id }),
    bad: ({ workflow_id, other }) => ({
      "another workflow's template": [{ workflow_id, task_template_id: other.task_template_id }, 404],
    }),
  },
  'task_template.find_versions': {
    good: ({ task_ids, workflow_id }) => ({ task_id: task_ids[0], workflow_id }),
    unknown: { task_id: 200, workflow_id: 200 },
  },
  'task_template.get_requested_cores': {
    good: ({ task_template_version_id }) => ({ task_template_version_ids: `(${task_template_version_id},)` }),
    unknown: { task_template_version_ids: 200 },
    bad: () => ({ rubbish: [{ task_template_version_ids: '(1; 2)' }, 400], 'nothing at all': [{}, 400] }),
  },
  'task_template.get_most_popular_queue': {
    good: ({ task_template_version_id }) => ({ task_template_version_ids: `(${task_template_version_id},)` }),
    unknown: { task_template_version_ids: 200 },
    bad: () => ({ rubbish: [{ task_template_version_ids: '(1; 2)' }, 400], 'nothing at all': [{}, 400] }),
  },
  'task_template.get_statuses': { good: aWorkflow },
  'task_template.find_errors': {
    good: ({ workflow_id, task_template_id }) => ({
      wf_id: workflow_id,
      tt_id: task_template_id,
      page: 1,
      page_size: 10,
      just_recent_errors: 'true',
      cluster_errors: 'true',
    }),
  },
  'task_template.find_instance_errors': {
    good: ({ workflow_id, task_template_id, task_instance_ids }) => ({
      wf_id: workflow_id,
      tt_id: task_template_id,
      ti_id: task_instance_ids[0],
      page: 1,
      page_size: 10,
      just_recent_errors: 'true',
      cluster_errors: 'true',
    }),
  },
  'task_template.get_resource_usage': {
    good: ({ task_template_version_id, workflow_id }) => ({
      task_template_version_id,
      workflows: [workflow_id],
      node_args: { x: ['1'] },
      ci: '0.95',
      viz: true,
    }),
    bad: ({ task_template_version_id }) => ({
      'a value that is no list': [{ task_template_version_id, node_args: { x: '1' } }, 400],
      'a level that is none': [{ task_template_version_id, ci: 'x' }, 400],
    }),
  },

  'workflow.validate_tasks': { good: allTasks, unknown: { task_ids: 200 } },
  'workflow.get_tasks': {
    good: ({ workflow_id }) => ({ workflow_id, limit: 5, status: ['PENDING'] }),
    bad: ({ workflow_id }) => ({ 'a word that is no status': [{ workflow_id, limit: 5, status: ['x'] }, 400] }),
  },
  'workflow.validate_username': { good: ({ workflow_id }) => ({ workflow_id, username: 'ada' }) },
  'workflow.validate_reset': { good: ({ workflow_id }) => ({ workflow_id, username: 'ada' }) },
  'workflow.reset': {
    world: FAILED,
    good: ({ workflow_id }) => ({ workflow_id, partial_reset: false }),
    effect: { workflow: [0, 1], task: [0, 2] },
    repeat: 'otherwise',
  },
  'workflow.get_status': {
    good: ({ workflow_id }) => ({ workflow_id: [workflow_id], user: ['ada'], limit: 5 }),
    unknown: { workflow_id: 200 },
    bad: () => ({ 'no filter at all': [{ limit: 5 }, 400] }),
  },
  'workflow.get_bars': { good: ({ workflow_id }) => ({ workflow_ids: [workflow_id] }), unknown: { workflow_ids: 200 } },
  'workflow.list_overview': {
    good: ({ workflow_id }) => ({ wf_id: workflow_id, user: ['ada'], status: ['F'], date_submitted: '2026-01-01', limit: 5 }),
    unknown: { wf_id: 200 },
  },
  'workflow.list_tasks': { good: ({ workflow_id, mark }) => ({ workflow_id, tt_name: mark, limit: 5 }) },
  'workflow.get_details': { good: aWorkflow },
};
