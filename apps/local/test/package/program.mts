/** A small program as somebody writes it who has installed the package: played as an ES module and as CommonJS. */
import { JobmonError, openWorkflow, Tool, type BrokenRule } from '@jobmon/client';
import { getWorkflow } from '@jobmon/client/contracts';

async function main(): Promise<void> {
  const tool = new Tool('packed', { defaultClusterName: 'dummy' });
  const fit = tool.getTaskTemplate('fit', 'fit {model} {year} {seed}', { taskArgs: ['seed'] });
  const sum = tool.getTaskTemplate('sum', 'sum {year}');
  const workflow = tool.createWorkflow({ name: 'packed', maxConcurrentlyRunning: 3 });
  workflow.addTasks(
    fit.createTasks({ model: ['a', 'b'], year: [1990, 1991], seed: 7 }, { computeResources: { memory: '256M' } }),
  );
  const each = ({ year }: { readonly year: string | number | bigint | boolean }) => ({
    upstreams: workflow.getTasksByNodeArgs('fit', { year }),
  });
  workflow.addTasks(sum.createTasks({ year: [1990, 1991] }, { each }));
  const result = await workflow.run();

  const broken = tool.createWorkflow();
  broken.addTask(sum.createTask({ year: 1 }, { upstreams: [sum.createTask({ year: 2 })] }));
  const refusal: unknown = await broken.validate().catch((error: unknown) => error);
  const rule = refusal instanceof JobmonError ? (refusal.details as BrokenRule).rule : undefined;

  const { connection } = await openWorkflow(result.workflowId);
  const { name } = await connection.send(getWorkflow, { workflow_id: result.workflowId });
  console.log(JSON.stringify({ status: result.status, done: result.counts.done, rule, name }));
}

void main();
