/**
 * Two branches, of which one fails: the other one is finished all the same, and nothing is lost. Then what to do: read the errors, mend the
 * cause, run what failed again.
 * With a house running: `node tools/run-example.mjs examples/failing-branch.ts`.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { Tool } from '@jobmon/client';

const tool = new Tool('survey', { defaultClusterName: 'multiprocess', defaultMaxAttempts: 2 });
const workflow = tool.createWorkflow({ name: 'survey with a hole' });

const count = tool.getTaskTemplate('count', 'wc -l < {region}.csv > {region}.count');
const rate = tool.getTaskTemplate('rate', 'echo "{region}: $(cat {region}.count) answers" > {region}.txt');
for (const region of ['north', 'south']) {
  const counted = workflow.addTask(count.createTask({ region }));
  workflow.addTask(rate.createTask({ region }, { upstreams: [counted] }));
}

mkdirSync('failing-branch', { recursive: true });
writeFileSync('failing-branch/north.csv', 'yes\nno\nyes\n');
rmSync('failing-branch/south.csv', { force: true }); // Somebody has forgotten the south.
const result = await workflow.run({ workingDirectory: 'failing-branch' });

console.log(`workflow ${result.workflowId} is ${result.status}: ${result.counts.done} of ${result.counts.total} tasks done`);
for (const { name, attempts, error } of result.failedTasks) console.log(`${name} failed ${attempts} times: ${error?.trim()}`);
if (!result.isDone) {
  console.log(`What to do:
  npx jobmon workflow errors ${result.workflowId}         # what went wrong, in full
  echo yes > failing-branch/south.csv   # mend the cause
  npx jobmon workflow retry ${result.workflowId} --watch  # the failed task runs again, and all that waited for it`);
}
process.exitCode = result.isDone ? 0 : 1;
