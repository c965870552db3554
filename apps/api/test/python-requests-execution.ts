/** Good requests of the operations that a run needs (S, E); see `python-requests.ts`. */
import { Driver } from '@jobmon/contracts';
import { UNKNOWN_ID, type PythonRequest, type World, type WrongKind } from './python-requests';

const attemptEnd = { stdout: '/out', stderr: '/err', stdout_log: 'x', stderr_log: 'y', nodename: 'n', distributor_id: '1_0' };
/** Numbers are written for text: a cluster's job id is one on some clusters. */
const DISTRIBUTOR_ID: readonly WrongKind[] = ['number'];
/** Seconds: any positive number up to a year. */
const INCREMENT: readonly WrongKind[] = ['fraction'];
const LOGS = { stdout_log: ['long'], stderr_log: ['long'] } as const;
/** Runs that ended, of a workflow that failed: what resume and reset are for. */
const FAILED = {
  driver: Driver.CLIENT,
  tasks: 2,
  workflow_status: 'F',
  run_status: 'E',
  instance_status: 'E',
  task_status: 'F',
} as const;
const attempt =
  (status: number, fields: Record<string, unknown> = {}) =>
  (world: World) => ({
    task_instance_id: world.task_instance_ids[status],
    ...fields,
  });
const [Q, I, O, R] = [0, 1, 2, 3];
const moved = { task: [0, 1], task_instance: [0, 1], task_instance_history: [1, 0] } as const;

export const EXECUTION_REQUESTS: Readonly<Record<string, PythonRequest>> = {
  'service.alive': { good: () => ({}) },
  'service.time': { good: () => ({}) },
  'service.health': { good: () => ({}) },
  'service.fail': { good: () => ({}), status: 500 },
  'service.api_version': { good: () => ({}) },

  'tool.bind': { good: ({ mark }) => ({ name: mark }), effect: { tool: [1, 0] } },
  'tool.list_versions': { good: ({ tool_id }) => ({ tool_id }), unknown: { tool_id: 200 } },
  'tool.list_resource_usage': {
    good: ({ mark }) => ({ tool_name: mark, start_date: '2026-01-01', end_date: '2026-01-02' }),
    bad: ({ mark }) => ({
      'a date that is none': [{ tool_name: mark, start_date: '2026-02-30', end_date: '2026-03-01' }, 400],
      'dates too far apart': [{ tool_name: mark, start_date: '2026-01-01', end_date: '2026-02-01' }, 400],
    }),
  },
  'tool_version.add': { good: ({ tool_id }) => ({ tool_id }), effect: { tool_version: [1, 0] }, repeat: 'again' },
  'tool_version.list_task_templates': { good: ({ tool_version_id }) => ({ tool_version_id }) },
  'task_template.bind': {
    good: ({ tool_version_id, mark }) => ({ tool_version_id, task_template_name: mark }),
    effect: { task_template: [1, 0] },
  },
  'task_template.list_versions': { good: ({ task_template_id }) => ({ task_template_id }) },
  'task_template_version.bind': {
    good: ({ task_template_id, mark }) => ({
      task_template_id,
      command_template: 'echo {a}',
      arg_mapping_hash: 17,
      node_args: [`a ${mark}`],
      task_args: [`b ${mark}`],
      op_args: [`a ${mark}`],
    }),
    effect: { task_template_version: [1, 0], arg: [2, 0], template_arg_map: [3, 0] },
    takes: () => ({ arg_mapping_hash: ['huge'] }),
    bad: ({ task_template_id }) => ({
      'a name that is too long': [
        {
          task_template_id,
          command_template: 'x',
          arg_mapping_hash: 1,
          node_args: ['x'.repeat(256)],
          task_args: [],
          op_args: [],
        },
        400,
      ],
      'a hash of 79 digits': [
        { task_template_id, command_template: 'x', arg_mapping_hash: '1'.repeat(79), node_args: [], task_args: [], op_args: [] },
        400,
      ],
    }),
  },
  'task_template_version.get_template': { good: ({ task_template_version_id }) => ({ task_template_version_id }) },

  'cluster.get': { good: () => ({ cluster_name: 'multiprocess' }) },
  'queue.get': { good: ({ cluster_id }) => ({ cluster_id, queue_name: 'null.q' }), unknown: { cluster_id: 200 } },
  'task_resources.bind': {
    good: ({ queue_id, mark }) => ({ queue_id, task_resources_type_id: 'O', requested_resources: { cores: 1, mark } }),
    effect: { task_resources: [1, 0] },
    repeat: 'again',
    bad: ({ queue_id }) => ({
      'resources that no row holds': [
        { queue_id, task_resources_type_id: 'O', requested_resources: { x: 'x'.repeat(100_000) } },
        400,
      ],
    }),
  },
  'task_resources.get': { good: ({ task_resources_id }) => ({ task_resources_id }), unknown: { task_resources_id: 200 } },

  'dag.bind': {
    good: ({ workflow_id }) => ({ dag_hash: workflow_id }),
    effect: { dag: [1, 0] },
    takes: () => ({ dag_hash: ['huge'] }),
  },
  'dag.add_edges': {
    good: ({ open_dag_id: dag_id, node_ids }) => ({
      dag_id,
      edges_to_add: [{ node_id: node_ids[0], upstream_node_ids: [], downstream_node_ids: [node_ids[1]] }],
      mark_created: false,
    }),
    effect: { edge: [1, 0] },
    bad: ({ open_dag_id: dag_id, node_ids }) => ({
      'a node that does not exist': [
        { dag_id, edges_to_add: [{ node_id: UNKNOWN_ID, upstream_node_ids: [], downstream_node_ids: [] }], mark_created: false },
        404,
      ],
      'an edge that is no object': [{ dag_id, edges_to_add: [[node_ids[0], [], []]], mark_created: false }, 400],
    }),
  },
  'node.bind': {
    good: ({ task_template_version_id, arg_id }) => ({
      nodes: [{ task_template_version_id, node_args_hash: '99', node_args: { [arg_id]: 'x' } }],
    }),
    effect: { node: [1, 0], node_arg: [1, 0] },
    bad: ({ task_template_version_id, arg_id }) => ({
      'a version that does not exist': [
        { nodes: [{ task_template_version_id: UNKNOWN_ID, node_args_hash: '99', node_args: {} }] },
        404,
      ],
      'an argument that does not exist': [
        { nodes: [{ task_template_version_id, node_args_hash: '98', node_args: { [UNKNOWN_ID]: 'x' } }] },
        404,
      ],
      'a value that is too long': [
        { nodes: [{ task_template_version_id, node_args_hash: '97', node_args: { [arg_id]: 'x'.repeat(2_049) } }] },
        400,
      ],
    }),
  },

  'workflow.list_matching': { good: () => ({ workflow_args_hash: '17' }) },
  'workflow.bind': {
    good: ({ tool_version_id, dag_id, mark }) => ({
      tool_version_id,
      dag_id,
      workflow_args_hash: 1,
      task_hash: 2,
      description: 'd',
      name: 'n',
      workflow_args: 'a',
      max_concurrently_running: 7,
      workflow_attributes: { [mark]: 'v' },
    }),
    effect: { workflow: [1, 0], workflow_attribute: [1, 0], workflow_attribute_type: [1, 0] },
    repeat: 'otherwise',
    takes: () => ({
      workflow_args_hash: ['huge'],
      task_hash: ['huge'],
      description: ['null'],
      name: ['null'],
      workflow_args: ['null'],
    }),
  },
  'workflow.set_attributes': {
    good: ({ workflow_id, mark }) => ({ workflow_id, workflow_attributes: { [mark]: 'v' } }),
    effect: { workflow_attribute: [1, 0], workflow_attribute_type: [1, 0] },
    bad: ({ workflow_id, mark }) => ({
      'a value that is too long': [{ workflow_id, workflow_attributes: { [mark]: 'x'.repeat(256) } }, 400],
      'a name that is too long': [{ workflow_id, workflow_attributes: { ['x'.repeat(256)]: 'v' } }, 400],
      'a value that is an object': [{ workflow_id, workflow_attributes: { [mark]: {} } }, 400],
    }),
  },
  'array.bind': {
    good: ({ workflow_id, other, mark }) => ({
      workflow_id,
      task_template_version_id: other.task_template_version_id,
      max_concurrently_running: 7,
      name: mark,
    }),
    effect: { array: [1, 0] },
  },
  'array.limit': { good: ({ array_id }) => ({ array_id }) },
  'array.limit_of_template': {
    good: ({ workflow_id, task_template_version_id }) => ({ workflow_id, task_template_version_id }),
    bad: ({ workflow_id, other }) => ({
      "another workflow's template": [{ workflow_id, task_template_version_id: other.task_template_version_id }, 404],
    }),
  },
  'workflow.limit': { good: ({ workflow_id }) => ({ workflow_id }) },
  'workflow.set_limit': { good: ({ workflow_id }) => ({ workflow_id, max_tasks: 3 }), effect: { workflow: [0, 1] } },
  'array.set_limit': {
    good: ({ workflow_id, task_template_version_id }) => ({ workflow_id, task_template_version_id, max_tasks: 3 }),
    effect: { array: [0, 1] },
    bad: ({ workflow_id, other }) => ({
      "another workflow's template": [
        { workflow_id, task_template_version_id: other.task_template_version_id, max_tasks: 3 },
        404,
      ],
    }),
  },

  'task_instance.log_running': {
    good: attempt(I, { process_group_id: 4711, next_report_increment: 90, nodename: 'n', distributor_id: '1_0' }),
    effect: moved,
    takes: () => ({ next_report_increment: INCREMENT, distributor_id: DISTRIBUTOR_ID }),
  },
  'task_instance.log_report_by': {
    good: attempt(R, { next_report_increment: 90, stdout: '/out', stderr: '/err', distributor_id: '1_0' }),
    effect: { task_instance: [0, 1] },
    takes: () => ({ next_report_increment: INCREMENT, distributor_id: DISTRIBUTOR_ID }),
  },
  'task_instance.log_report_by_batch': {
    good: ({ task_instance_ids }) => ({ task_instance_ids: [task_instance_ids[O]], next_report_increment: 90 }),
    unknown: { task_instance_ids: 200 },
    takes: () => ({ next_report_increment: INCREMENT }),
  },
  'task_instance.log_done': {
    good: attempt(R, attemptEnd),
    effect: moved,
    takes: () => ({ ...LOGS, distributor_id: DISTRIBUTOR_ID }),
  },
  'task_instance.log_error_worker_node': {
    good: attempt(R, { error_state: 'E', error_description: 'it broke', ...attemptEnd }),
    effect: { ...moved, task_instance_error_log: [1, 0] },
    takes: () => ({ ...LOGS, error_description: ['long'], distributor_id: DISTRIBUTOR_ID }),
    bad: ({ task_instance_ids }) => ({
      'a state that ends nothing': [{ task_instance_id: task_instance_ids[R], error_state: 'D', error_description: 'x' }, 400],
    }),
  },
  'task_instance.log_no_distributor_id': {
    good: attempt(I, { no_id_err_msg: 'no id' }),
    repeat: 'otherwise',
    effect: { ...moved, task_instance_error_log: [1, 0] },
    takes: () => ({ no_id_err_msg: ['long'] }),
  },
  'task_instance.log_distributor_id': {
    good: attempt(I, { distributor_id: '1_0', next_report_increment: 90 }),
    repeat: 'otherwise',
    effect: moved,
    takes: () => ({ next_report_increment: INCREMENT, distributor_id: DISTRIBUTOR_ID }),
  },
  'task_instance.log_known_error': {
    good: attempt(R, { error_state: 'Z', error_message: 'out of memory', distributor_id: '1_0', nodename: 'n' }),
    repeat: 'otherwise',
    effect: { ...moved, task_instance_error_log: [1, 0] },
    takes: () => ({ error_message: ['long'], distributor_id: DISTRIBUTOR_ID }),
  },
  'task_instance.log_unknown_error': {
    good: attempt(R, { error_state: 'U', error_message: 'gone', distributor_id: '1_0', nodename: 'n' }),
    takes: () => ({ error_message: ['long'], distributor_id: DISTRIBUTOR_ID }),
  },
  'task_instance.instantiate': {
    good: ({ task_instance_ids }) => ({ task_instance_ids: [task_instance_ids[Q]] }),
    effect: moved,
    unknown: { task_instance_ids: 200 },
  },
  'task_instance.list_errors': { good: attempt(R) },
  'task_instance.find_in_array': {
    good: ({ array_id }) => ({ array_id, batch_num: 1, step_id: 0 }),
    bad: ({ array_id }) => ({ 'a step that is none': [{ array_id, batch_num: 1, step_id: 99 }, 404] }),
  },
  'workflow_run.sync_status': {
    good: ({ workflow_run_id, task_instance_ids }) => ({ workflow_run_id, task_instance_ids, status: 'O' }),
    unknown: { task_instance_ids: 200 },
    bad: ({ workflow_run_id }) => ({ 'a status that is none': [{ workflow_run_id, task_instance_ids: [], status: 'x' }, 400] }),
  },
  'workflow_run.set_status_for_triaging': { good: ({ workflow_run_id }) => ({ workflow_run_id }) },

  'array.queue_task_batch': {
    world: { tasks: 2 },
    good: ({ array_id, task_ids, task_resources_id, workflow_run_id, cluster_id }) => ({
      array_id,
      task_ids,
      task_resources_id,
      workflow_run_id,
      cluster_id,
    }),
    effect: { task: [0, 2], task_instance: [2, 0], task_instance_history: [2, 0] },
    unknown: { task_ids: 200, cluster_id: 200 },
    takes: () => ({
      cluster_id: ['text', 'truth', 'list', 'odd list', 'object', 'negative', 'huge', 'beyond all', 'fraction', 'null'],
    }),
    bad: ({ array_id, other, task_ids, task_resources_id, workflow_run_id, cluster_id }) => ({
      // Nothing is queued, and the answer tells where the tasks stand.
      "another workflow's run": [
        { array_id, task_ids, task_resources_id, workflow_run_id: other.workflow_run_id, cluster_id },
        200,
      ],
      "another workflow's array": [{ array_id: other.array_id, task_ids, task_resources_id, workflow_run_id, cluster_id }, 200],
    }),
  },
  'array.transition_to_launched': {
    good: ({ array_id }) => ({ array_id, batch_number: 1, next_report_increment: 90 }),
    effect: moved,
    takes: () => ({ next_report_increment: INCREMENT }),
  },
  'array.transition_to_killed': {
    world: { tasks: 2, run_status: 'C', instance_status: 'K', task_status: 'R' },
    good: ({ array_id }) => ({ array_id, batch_number: 1 }),
    effect: { task: [0, 2], task_instance: [0, 2], task_instance_history: [2, 0] },
  },
  'array.log_distributor_id': {
    good: ({ array_id, task_instance_ids }) => ({ array_id, [String(task_instance_ids[O])]: '1_0' }),
    takes: ({ task_instance_ids }) => ({ [String(task_instance_ids[O])]: DISTRIBUTOR_ID }),
    effect: { task_instance: [0, 1] },
    bad: ({ array_id, task_instance_ids }) => ({
      'an id that is too long': [{ array_id, [String(task_instance_ids[O])]: 'x'.repeat(21) }, 400],
    }),
  },

  'workflow_run.link': {
    world: { tasks: 1, workflow_status: 'G', run_status: 'E' },
    good: ({ workflow_id }) => ({ workflow_id, user: 'ada', jobmon_version: '3.6.0', next_report_increment: 93 }),
    effect: { workflow_run: [1, 0] },
    repeat: 'otherwise',
    unknown: { workflow_id: 200 },
    takes: () => ({ next_report_increment: INCREMENT }),
  },
  'workflow_run.terminate_task_instances': {
    world: {
      tasks: 4,
      run_status: 'C',
      instance_status: (at) => (['Q', 'I', 'O', 'R'] as const)[at]!,
      task_status: (at) => (['Q', 'I', 'O', 'R'] as const)[at]!,
    },
    good: ({ workflow_run_id }) => ({ workflow_run_id }),
    effect: { task: [0, 2], task_instance: [0, 4], task_instance_history: [4, 0], task_instance_error_log: [4, 0] },
    repeat: 'otherwise',
  },
  'workflow_run.log_heartbeat': {
    good: ({ workflow_run_id }) => ({ workflow_run_id, status: 'R', next_report_increment: 93 }),
    takes: () => ({ next_report_increment: INCREMENT, status: ['long'] }),
  },
  'workflow_run.update_status': {
    good: ({ workflow_run_id }) => ({ workflow_run_id, status: 'S' }),
    effect: { workflow: [0, 1], workflow_run: [0, 1] },
    takes: () => ({ status: ['long'] }),
  },

  'workflow.set_resume_state': {
    world: FAILED,
    good: ({ workflow_id }) => ({ workflow_id, reset_if_running: false }),
    effect: { task: [0, 2] },
  },
  'workflow.set_resume': {
    good: ({ workflow_id }) => ({ workflow_id, reset_running_jobs: true }),
    effect: { workflow_run: [0, 1] },
    unknown: { workflow_id: 200 },
  },
  'workflow.is_resumable': { good: ({ workflow_id }) => ({ workflow_id }) },
  'workflow.force_cleanup_kill_self': {
    world: { tasks: 2, run_status: 'C', instance_status: 'K', task_status: 'R' },
    good: ({ workflow_id }) => ({ workflow_id }),
    effect: {
      workflow: [0, 1],
      workflow_run: [0, 1],
      task: [0, 2],
      task_instance: [0, 2],
      task_instance_history: [2, 0],
      task_instance_error_log: [2, 0],
    },
    repeat: 'otherwise',
  },

  'workflow_run.reap': {
    world: { tasks: 1, run_status: 'R', deadline_seconds: -100 },
    good: ({ workflow_run_id }) => ({ workflow_run_id }),
    effect: { workflow: [0, 1], workflow_run: [0, 1] },
    unknown: { workflow_run_id: 200 },
  },
  'workflow.fix_status_inconsistency': {
    good: ({ workflow_id }) => ({ workflow_id, increase_step: 100 }),
    unknown: { workflow_id: 200 },
  },
  'workflow.name_and_args': { good: ({ workflow_id }) => ({ workflow_id }), unknown: { workflow_id: 200 } },
  'workflow_run.find_lost': { good: () => ({ status: ['L', 'R'], version: '3.6.0' }) },
};
