/** Workflows that begin with one client and end with the other: bound and failed in Python and resumed by the SDK, and the other way round. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tool, type Identity, type Workflow } from '@jobmon/client';
import { resultOf } from '@jobmon/testkit';
import { SCRIPTS, type FlowResult, type Scene, type Story } from './stage';

const TIERS = ['--tier', 'good', 'bad:mended', '--tier', 'last'];

/** What flow.py makes of `TIERS`, by the SDK: the same tool, template, values and workflow arguments, so the same workflow. */
function build(scene: Scene, workflowArgs: string, identity?: Identity): Workflow {
  const { folder } = scene.site;
  // Commands of the house know nothing of the scene; what is an op argument may differ between the clients.
  const note = path.join(folder, 'native-note.sh');
  writeFileSync(note, `DIARY='${path.join(folder, 'diary')}' exec sh '${path.join(SCRIPTS, 'note.sh')}' "$@"\n`);
  const tool = new Tool('diary', { connection: scene.connection, defaultClusterName: 'multiprocess', defaultMaxAttempts: 1 });
  const template = tool.getTaskTemplate('note', 'exec sh {note} {label} {ending} {seconds}', {
    taskArgs: ['ending', 'seconds'],
    opArgs: ['note'],
  });
  const workflow = tool.createWorkflow({ workflowArgs, identity, name: 'diary_flow' });
  const [good, bad] = workflow.addTasks([
    template.createTask({ label: 'good', ending: 'ok', seconds: 0, note }),
    template.createTask({ label: 'bad', ending: 'mended', seconds: 0, note }),
  ]);
  workflow.addTask(template.createTask({ label: 'last', ending: 'ok', seconds: 0, note }, { upstreams: [good!, bad!] }));
  return workflow;
}

const runFlow = async (scene: Scene, args: readonly string[]): Promise<FlowResult> =>
  resultOf<FlowResult>(await scene.flow(['--cluster', 'multiprocess', '--max-attempts', '1', ...args, ...TIERS]).ended);

const mend = (scene: Scene): void => writeFileSync(path.join(scene.site.folder, 'mended'), '');

/** Only what was not done ran again, and both runs belong to one workflow. */
async function endedOnce(scene: Scene, workflow_id: number): Promise<void> {
  deepEqual(scene.site.begun().sort(), ['bad', 'bad', 'good', 'last']);
  const runs = await scene.query<{ status: string }>(
    `SELECT status FROM workflow_run WHERE workflow_id = ${workflow_id} ORDER BY id`,
  );
  const tasks = await scene.query<{ status: string }>(`SELECT status FROM task WHERE workflow_id = ${workflow_id}`);
  equal(runs.map(({ status }) => status).join(''), 'ED');
  equal(tasks.map(({ status }) => status).join(''), 'DDD');
}

const goesOnNatively: Story = {
  title: 'a workflow that failed in Python is resumed by the SDK: the same workflow, and what was done stays done',
  tell: async (scene) => {
    const first = await runFlow(scene, ['--workflow-args', 'python_first']);
    equal(first.status, 'E');
    mend(scene);
    const refused: unknown = await build(scene, 'python_first')
      .run({ workingDirectory: scene.site.folder })
      .catch((error: unknown) => error);
    ok(String(refused).includes(`workflow ${first.workflow_id} is the same and is FAILED already`), String(refused));
    const workflow = build(scene, 'python_first');
    const result = await workflow.resume({ workingDirectory: scene.site.folder });
    deepEqual([result.workflowId, result.status, result.previouslyDone], [first.workflow_id, 'DONE', 1]);
    deepEqual(
      [...workflow.tasks].map(({ taskId }) => taskId),
      ['good', 'bad', 'last'].map((name) => first.task_ids[name]),
    );
    await endedOnce(scene, first.workflow_id);
  },
};

const goesOnInPython: Story = {
  title: 'a workflow that failed natively is resumed in Python: the same workflow, and what was done stays done',
  tell: async (scene) => {
    const workflow = build(scene, 'native_first', '3.3');
    const first = await workflow.run({ workingDirectory: scene.site.folder });
    deepEqual([first.status, first.counts.done, first.counts.fatal], ['FAILED', 1, 1]);
    mend(scene);
    const second = await runFlow(scene, ['--workflow-args', 'native_first', '--resume', 'cold']);
    equal(second.status, 'D');
    equal(second.workflow_id, first.workflowId);
    deepEqual(second.task_ids, Object.fromEntries([...workflow.tasks].map(({ nodeArgs, taskId }) => [nodeArgs.label, taskId])));
    await endedOnce(scene, first.workflowId);
  },
};

export const NATIVE_STORIES: readonly Story[] = [goesOnNatively, goesOnInPython];
