/**
 * Map and reduce over locations and years: a task for each location and year, one for each location that takes its years together, one
 * for the world that takes the locations together.
 * With a house running: `node tools/run-example.mjs examples/map-reduce.ts`.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { Tool } from '@jobmon/client';

const locations = ['kenya', 'norway', 'peru'];
const years = [1990, 2000, 2010];

const tool = new Tool('life expectancy', { defaultClusterName: 'multiprocess' });
const workflow = tool.createWorkflow({ name: 'life expectancy by location' });

// One array of tasks for every combination. `years` of one location differ by nothing but their arguments.
const estimate = tool.getTaskTemplate(
  'estimate',
  'echo "{location},{year},$((55 + $(printf {location} | wc -c) + ({year} - 1990) / 5))" > {location}-{year}.csv',
);
workflow.addTasks(estimate.createTasks({ location: locations, year: years }));

// Each location waits for its own years, so a slow location holds up no other one.
const join = tool.getTaskTemplate(
  'join',
  'sort {location}-*.csv | awk -F, \'{{ sum += $3 }} END {{ print "{location}," sum / NR }}\' > {location}.mean',
);
const means = locations.map((location) =>
  workflow.addTask(join.createTask({ location }, { upstreams: workflow.getTasksByNodeArgs('estimate', { location }) })),
);

const world = tool.getTaskTemplate('world', 'sort *.mean > world.csv');
workflow.addTask(world.createTask({}, { upstreams: means }));

mkdirSync('map-reduce', { recursive: true });
const result = await workflow.run({ workingDirectory: 'map-reduce' });
console.log(`workflow ${result.workflowId} is ${result.status}: ${result.counts.done} of ${result.counts.total} tasks done`);
if (result.isDone) console.log(readFileSync('map-reduce/world.csv', 'utf8').trim());
process.exitCode = result.isDone ? 0 : 1;
