/**
 * A pipeline that a timer starts every night, and that is simply started again when something was wrong: what is done stays done.
 * With a house running: `node tools/run-example.mjs examples/nightly-pipeline.ts 2026-11-22`.
 */
import { mkdirSync } from 'node:fs';
import { JobmonError, Tool } from '@jobmon/client';

const night = process.argv[2] ?? new Date().toISOString().slice(0, 10);

const tool = new Tool('nightly', { defaultClusterName: 'multiprocess', defaultMaxAttempts: 2 });
// The arguments are what makes this night's workflow another one than last night's, and the same one when it is started again.
const workflow = tool.createWorkflow({ name: `nightly ${night}`, workflowArgs: night });

const fetch = tool.getTaskTemplate('fetch', 'echo "{source} of {night}" > {source}.raw; echo fetched {source} >> diary', {
  taskArgs: ['night'],
});
const clean = tool.getTaskTemplate('clean', 'tr a-z A-Z < {source}.raw > {source}.clean; echo cleaned {source} >> diary');
// Where it is published to may be away for a night: the file stands for that.
const publish = tool.getTaskTemplate(
  'publish',
  'test -e site-is-up || {{ echo "the site is down" >&2; exit 1; }}; cat *.clean > {page}',
);

const cleaned = ['births', 'deaths'].map((source) => {
  const fetched = workflow.addTask(fetch.createTask({ source, night }));
  return workflow.addTask(clean.createTask({ source }, { upstreams: [fetched] }));
});
workflow.addTask(publish.createTask({ page: 'index.txt' }, { upstreams: cleaned }));

const folder = `nightly-${night}`;
mkdirSync(folder, { recursive: true });
try {
  // With `resume` it does not matter whether this is the first start of the night or the third.
  const result = await workflow.run({ workingDirectory: folder, resume: true });
  console.log(`workflow ${result.workflowId} is ${result.status}: ${result.counts.done} of ${result.counts.total} tasks done`);
  console.log(`done before this start: ${result.previouslyDone ?? 0}`);
  for (const { name, error } of result.failedTasks) console.log(`${name} failed: ${error?.trim()}`);
  process.exitCode = result.isDone ? 0 : 1;
} catch (error) {
  // Once all is done there is nothing to go on with, and a timer need not hear of it.
  if (!(error instanceof JobmonError) || error.code !== 'CONFLICT') throw error;
  console.log(error.message);
}
