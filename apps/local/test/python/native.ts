/**
 * Workflows that begin with one client and end with the other: bound and failed in Python and resumed by the SDK, the other way round, and
 * Python clients that are alive while the SDK takes their workflow over.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tool, type Identity, type Workflow } from '@jobmon/client';
import { resultOf, until } from '@jobmon/testkit';
import { SCRIPTS, type FlowResult, type Scene, type Story } from './stage';
import { begun, mend, neverTwice, PATIENCE_MS, ranOnce, SHORT_LIFE, standing } from './stories';

/** The tasks of a workflow, tier by tier, each as flow.py takes it: NAME[:ENDING]. */
type Tiers = readonly (readonly string[])[];
const FAILING: Tiers = [['good', 'bad:mended'], ['last']];
const LASTING: Tiers = [['slow:held'], ['last']];

const inWords = (tiers: Tiers): string[] => tiers.flatMap((tier) => ['--tier', ...tier]);

/** The script of the commands for whoever starts them: the house's agent knows nothing of the scene's variables. */
function noteOf({ site: { folder } }: Scene): string {
  const note = path.join(folder, 'native-note.sh');
  writeFileSync(note, `DIARY='${path.join(folder, 'diary')}' exec sh '${path.join(SCRIPTS, 'note.sh')}' "$@"\n`);
  return note;
}

/** What flow.py makes of these tiers, by the SDK: the same tool, template, values and workflow arguments, so the same workflow. */
function build(scene: Scene, workflowArgs: string, tiers: Tiers, identity?: Identity): Workflow {
  // It is an op argument, which may differ between the clients.
  const note = noteOf(scene);
  const tool = new Tool('diary', { connection: scene.connection, defaultClusterName: 'multiprocess', defaultMaxAttempts: 1 });
  const template = tool.getTaskTemplate('note', 'exec sh {note} {label} {ending} {seconds}', {
    taskArgs: ['ending', 'seconds'],
    opArgs: ['note'],
  });
  const workflow = tool.createWorkflow({ workflowArgs, identity, name: 'diary_flow' });
  let upstreams: ReturnType<Workflow['addTasks']> = [];
  for (const tier of tiers) {
    const made = tier.map((word) => {
      const [label, ending = 'ok'] = word.split(':');
      return template.createTask({ label: label!, ending, seconds: 0, note }, { upstreams });
    });
    upstreams = workflow.addTasks(made);
  }
  return workflow;
}

const runFlow = async (scene: Scene, args: readonly string[]): Promise<FlowResult> =>
  resultOf<FlowResult>(
    await scene.flow(['--cluster', 'multiprocess', '--max-attempts', '1', ...args, ...inWords(FAILING)]).ended,
  );

/** Only what was not done ran again, and both runs belong to one workflow. */
async function endedOnce(scene: Scene, workflow_id: number): Promise<void> {
  deepEqual(scene.site.begun().sort(), ['bad', 'bad', 'good', 'last']);
  neverTwice(scene);
  const tasks = await scene.query<{ status: string }>(`SELECT status FROM task WHERE workflow_id = ${workflow_id}`);
  deepEqual(await standing(scene, workflow_id), { workflow: 'D', runs: 'ED' });
  equal(tasks.map(({ status }) => status).join(''), 'DDD');
}

const goesOnNatively: Story = {
  title: 'a workflow that failed in Python is resumed by the SDK: the same workflow, and what was done stays done',
  tell: async (scene) => {
    const first = await runFlow(scene, ['--workflow-args', 'python_first']);
    equal(first.status, 'E');
    mend(scene);
    const refused: unknown = await build(scene, 'python_first', FAILING)
      .run({ workingDirectory: scene.site.folder })
      .catch((error: unknown) => error);
    ok(String(refused).includes(`workflow ${first.workflow_id} is the same and is FAILED already`), String(refused));
    const workflow = build(scene, 'python_first', FAILING);
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
    const workflow = build(scene, 'native_first', FAILING, '3.3');
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

/** A workflow whose only command runs for a client that lives, and the SDK's way of going on with it. */
async function whileAlive(scene: Scene, workflowArgs: string, settings: NodeJS.ProcessEnv = {}) {
  const named = ['--workflow-args', workflowArgs, '--cluster', 'multiprocess', '--patience', '60'];
  // While a client lives its commands stand as it gave them: whoever takes over starts the very same.
  const client = scene.flow([...named, '--note', noteOf(scene), ...inWords(LASTING)], settings);
  await begun(scene, 'slow');
  const workflow = build(scene, workflowArgs, LASTING);
  const resume = (mode: 'cold' | 'hot') => workflow.resume({ resume: mode, workingDirectory: scene.site.folder });
  return { client, workflow, resume };
}

const takenOverCold: Story = {
  title: 'a living Python client is taken over by the SDK (cold): its command is ended first, then begun again',
  tell: async (scene) => {
    const { client, resume } = await whileAlive(scene, 'alive_cold');
    const resumed = resume('cold');
    await Promise.race([resumed, begun(scene, 'slow', 2)]);
    mend(scene);
    const result = await resumed;
    equal(result.status, 'DONE');
    await client.ended;
    deepEqual(scene.site.begun(), ['slow', 'slow', 'last']);
    deepEqual(scene.site.ended(), ['slow', 'last']);
    neverTwice(scene);
    deepEqual(await standing(scene, result.workflowId), { workflow: 'D', runs: 'TD' });
  },
};

const takenOverHot: Story = {
  title: 'a living Python client is taken over by the SDK (hot): the running command goes on and counts',
  tell: async (scene) => {
    const { client, workflow, resume } = await whileAlive(scene, 'alive_hot', SHORT_LIFE);
    const resumed = resume('hot');
    const isLinked = async (): Promise<boolean> => {
      const id = workflow.workflowId;
      return id !== undefined && /^T[BIOR]$/.test((await standing(scene, id)).runs);
    };
    await Promise.race([resumed, until('the server has a run of its own', isLinked, PATIENCE_MS)]);
    mend(scene);
    const result = await resumed;
    equal(result.status, 'DONE');
    await client.ended;
    ranOnce(scene, ['slow', 'last']);
    deepEqual(await standing(scene, result.workflowId), { workflow: 'D', runs: 'TD' });
  },
};

export const NATIVE_STORIES: readonly Story[] = [takenOverHot, takenOverCold, goesOnNatively, goesOnInPython];
