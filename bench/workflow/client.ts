/**
 * The program of the workflow benchmark: what a user writes, with the SDK, in a process of its own. It is told how many tasks to
 * make, and says how long each part took.
 */
import { Connection, Tool, type Task, type Workflow } from '@jobmon/client';

export interface Order {
  readonly url: string;
  readonly token: string;
  readonly tasks: number;
  readonly folder: string;
}

export type ClientSays =
  | { readonly kind: 'bound'; readonly build_seconds: number; readonly bind_seconds: number; readonly workflow_id: number }
  | {
      readonly kind: 'ended';
      readonly submit_seconds: number;
      readonly run_seconds: number;
      readonly is_done: boolean;
      readonly done: number;
      readonly peak_rss_mb: number;
    };

/** Tasks of the first tier for each of the second and third together with it: 10 fits, one sum for ten fits, one plot of each sum. */
const FITS_PER_SUM = 10;

/** Three tiers: many that wait for nothing, each ten of them joined by one, and one behind each of those. */
function threeTiers(connection: Connection, tasks: number): Workflow {
  const tool = new Tool('benchmark', { connection, defaultClusterName: 'dummy' });
  const workflow = tool.createWorkflow({ name: `${tasks} tasks` });
  const fit = tool.getTaskTemplate('fit', 'fit --location {location} --draws 1000');
  const sum = tool.getTaskTemplate('sum', 'sum --group {group}');
  const plot = tool.getTaskTemplate('plot', 'plot --group {group} --format png');
  for (let group = 0; workflow.tasks.size < tasks; group += 1) {
    const fits: Task[] = [];
    for (let nth = 0; nth < FITS_PER_SUM && workflow.tasks.size < tasks; nth += 1) {
      fits.push(workflow.addTask(fit.createTask({ location: group * FITS_PER_SUM + nth })));
    }
    if (workflow.tasks.size === tasks) break;
    const joined = workflow.addTask(sum.createTask({ group }, { upstreams: fits }));
    if (workflow.tasks.size < tasks) workflow.addTask(plot.createTask({ group }, { upstreams: [joined] }));
  }
  return workflow;
}

function say(message: ClientSays): void {
  process.send?.(message);
}

const seconds = (since: number): number => (performance.now() - since) / 1_000;

async function work({ url, token, tasks, folder }: Order): Promise<void> {
  let began = performance.now();
  const workflow = threeTiers(new Connection({ url, token }), tasks);
  const build_seconds = seconds(began);
  began = performance.now();
  const workflow_id = await workflow.bind();
  say({ kind: 'bound', build_seconds, bind_seconds: seconds(began), workflow_id });
  await new Promise((resolve) => process.once('message', resolve));
  began = performance.now();
  const run = await workflow.submit({ workingDirectory: folder });
  const submit_seconds = seconds(began);
  const { isDone, counts } = await run.wait();
  const peak_rss_mb = process.resourceUsage().maxRSS / 1024;
  say({ kind: 'ended', submit_seconds, run_seconds: seconds(began), is_done: isDone, done: counts.done, peak_rss_mb });
}

process.once('message', (order: Order) => {
  work(order).then(
    () => process.disconnect(),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
