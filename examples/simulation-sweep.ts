/**
 * A sweep of simulations of which nobody knows beforehand how much memory they need. All ask for little; the large ones go over it, are
 * ended, and are tried again with more, by themselves.
 * With a house running: `node tools/run-example.mjs examples/simulation-sweep.ts`.
 */
import { mkdirSync } from 'node:fs';
import { Tool } from '@jobmon/client';

const tool = new Tool('epidemic', { defaultClusterName: 'multiprocess' });

// Stands for a program that holds a byte for each person, and works on them for a while.
const simulate = tool.getTaskTemplate(
  'simulate',
  'people=$(head -c {population} /dev/zero | tr "\\0" x); sleep {seconds}; echo "{population} people, seed {seed}: ${{#people}} simulated"',
  {
    opArgs: ['seconds'],
    maxAttempts: 3,
    defaultComputeResources: { cores: 1, memory: '64M', runtime: '2m' },
    // The memory of the second attempt and of the third. A number would be a share to add: 0.5 makes half as much again.
    defaultResourceScales: { memory: ['192M', '1G'] },
  },
);

const workflow = tool.createWorkflow({ name: 'epidemic sweep', maxConcurrentlyRunning: 20 });
const tasks = workflow.addTasks(simulate.createTasks({ population: [1_000, 80_000_000], seed: [1, 2], seconds: 1.5 }));

mkdirSync('simulation-sweep', { recursive: true });
const result = await workflow.run({ workingDirectory: 'simulation-sweep' });
console.log(`workflow ${result.workflowId} is ${result.status}: ${result.counts.done} of ${result.counts.total} tasks done`);
for (const task of tasks) {
  const used = await task.resourceUsage();
  if (used === undefined) continue; // No attempt of it has passed.
  const [asked, held] = [Number(used.requested.memory) * 1_024, Math.round((used.memoryBytes ?? 0) / 2 ** 20)];
  console.log(`${task.name}: passed at attempt ${used.attempts} with ${asked} MiB, of which it used ${held}`);
}
process.exitCode = result.isDone ? 0 : 1;
