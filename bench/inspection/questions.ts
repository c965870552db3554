/** What people ask about a workflow, one request for each inspection operation, the widest that it takes. */
import type { LargeWorkflow } from '@jobmon/testkit';

export interface Question {
  /** Its number in spec/http-api-inspection.md. */
  readonly protocol: string;
  readonly what: string;
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly body?: unknown;
}

/** Tasks that the command line asks about at once; more do not fit into a request's first line. */
const LISTED_TASKS = 1_000;

export function questionsAbout(workflow: LargeWorkflow): Question[] {
  const { workflow_id, templates, task_ids, failed, user } = workflow;
  const [first] = templates;
  const version = first!.task_template_version_id;
  const versions = `(${templates.map((template) => template.task_template_version_id).join(',')})`;
  const get = (protocol: string, what: string, path: string): Question => ({ protocol, what, method: 'GET', path });
  const listedIds = Array.from({ length: LISTED_TASKS }, (_, nth) => task_ids[0]! + nth);
  const listed = listedIds.map((id) => `task_ids=${id}`).join('&');
  const errors = `/tt_error_log_viz/${workflow_id}/${failed.task_template_id}`;
  const usage = { task_template_version_id: version, ci: '0.95' };
  return [
    get('C1', 'log paths of every instance', `/array/${workflow_id}/get_array_tasks?array_name=`),
    get('C1', 'log paths, the newest five', `/array/${workflow_id}/get_array_tasks?array_name=&limit=5`),
    get('C1', 'log paths of a task by its name', `/array/${workflow_id}/get_array_tasks?array_name=&job_name=task_7`),
    get('C2', '1,000 tasks', `/task_status?${listed}`),
    {
      protocol: 'C3',
      what: 'all descendants of a task',
      method: 'POST',
      path: '/task/subdag',
      body: { task_ids: task_ids.slice(0, 1) },
    },
    get('C5', 'neighbours of a task', `/task_dependencies/${task_ids[task_ids.length > 1 ? 1 : 0]}`),
    {
      protocol: 'C6',
      what: 'all ancestors of a task',
      method: 'PUT',
      path: '/tasks_recursive/up',
      body: { task_ids: task_ids.slice(-1) },
    },
    get('C9', 'instances of a task', `/task/get_ti_details_viz/${task_ids[0]}`),
    get('C10', 'one task', `/task/get_task_details_viz/${task_ids[0]}`),
    get('C11', 'a template', `/get_task_template_details?workflow_id=${workflow_id}&task_template_id=${first!.task_template_id}`),
    get('C12', 'versions of the workflow', `/get_task_template_version?workflow_id=${workflow_id}`),
    get('C13', 'cores of every template', `/get_requested_cores?task_template_version_ids=${versions}`),
    get('C14', 'queues of every template', `/get_most_popular_queue?task_template_version_ids=${versions}`),
    { protocol: 'C15', what: 'resource usage of a template', method: 'POST', path: '/task_template_resource_usage', body: usage },
    {
      protocol: 'C15',
      what: 'resource usage with points',
      method: 'POST',
      path: '/task_template_resource_usage',
      body: { ...usage, viz: true },
    },
    get('C16', 'bars of every template', `/workflow_tt_status_viz/${workflow_id}`),
    get('C17', 'errors, a page', errors),
    get('C17', 'errors of the latest run', `${errors}?just_recent_errors=true`),
    get('C17', 'errors in groups', `${errors}?cluster_errors=true`),
    get('C17', 'errors in groups, of the latest run', `${errors}?cluster_errors=true&just_recent_errors=true`),
    get('C18', 'errors of an instance', `${errors}/${failed.task_instance_id}`),
    {
      protocol: 'C19',
      what: 'may 1,000 tasks be changed',
      method: 'POST',
      path: '/workflow_validation',
      body: { task_ids: listedIds },
    },
    get('C20', 'the newest five tasks', `/workflow/${workflow_id}/workflow_tasks?limit=5`),
    get('C20', 'every task', `/workflow/${workflow_id}/workflow_tasks?limit=0`),
    get('C21', 'is the workflow theirs', `/workflow/${workflow_id}/validate_username/${user}`),
    get('C22', 'may it be reset', `/workflow/${workflow_id}/validate_for_workflow_reset/${user}`),
    get('C24', 'the workflow', `/workflow_status?workflow_id=${workflow_id}`),
    get('C24', 'workflows of a user', `/workflow_status?user=${user}`),
    get('C25', 'its bar', `/workflow_status_viz?workflow_ids=${workflow_id}`),
    get('C26', 'workflows of a user, with bars', `/workflow_overview_viz?user=${user}`),
    get('C27', 'every task of a template', `/task_table_viz/${workflow_id}?task_template_id=${first!.task_template_id}`),
    get('C28', 'details', `/workflow_details_viz/${workflow_id}`),
  ];
}
