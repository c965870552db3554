/** What must not compile for somebody who has installed the package. A line that does compile below its `@ts-expect-error` is an error itself. */
import { Tool, type ComputeResources, type WorkflowResult } from '@jobmon/client';

const tool = new Tool('types', { defaultClusterName: 'dummy' });
const fit = tool.getTaskTemplate('fit', 'fit {model} {year} {{no placeholder}}', { taskArgs: ['year'] });
const bare = tool.getTaskTemplate('bare', 'true');

// What must compile.
fit.createTask({ model: 'a', year: 1990 });
fit.createTasks({ model: new Set(['a', 'b']), year: 1990n }, { each: ({ model, year }) => ({ name: `fit_${model}_${year}` }) });
bare.createTask();
bare.createTask({}, { name: 'bare', resourceScales: { memory: (old) => 2 * old, runtime: ['1h', 7_200], cores: 0 } });

// @ts-expect-error -- an argument is missing
fit.createTask({ model: 'a' });
// @ts-expect-error -- an argument is misspelt
fit.createTask({ model: 'a', yeer: 1990 });
// @ts-expect-error -- the command has no such placeholder
fit.createTask({ model: 'a', year: 1990, 'no placeholder': 1 });
// @ts-expect-error -- an object has no text of its own
fit.createTask({ model: {}, year: 1990 });
// @ts-expect-error -- null is no value
fit.createTask({ model: null, year: 1990 });
// @ts-expect-error -- a single task has single values
fit.createTask({ model: ['a', 'b'], year: 1990 });
// @ts-expect-error -- there is no placeholder at all
bare.createTask({ model: 'a' });
// @ts-expect-error -- nor in a matrix
bare.createTasks({ model: ['a'] });
// @ts-expect-error -- a task argument has one value for all tasks of a matrix
fit.createTasks({ model: 'a', year: [1990, 1991] });
// @ts-expect-error -- a value of a matrix is text, a number or a boolean
fit.createTasks({ model: [{}], year: 1990 });
// @ts-expect-error -- the values that `each` is given are those of the placeholders
fit.createTasks({ model: ['a'], year: 1990 }, { each: ({ yeer }) => ({ name: String(yeer) }) });
// @ts-expect-error -- the list of arguments names a placeholder that is none
tool.getTaskTemplate('other', 'fit {model}', { nodeArgs: ['modle'] });
// @ts-expect-error -- the list of task arguments too
tool.getTaskTemplate('other', 'fit {model}', { taskArgs: ['modle'] });
// @ts-expect-error -- attempts are a number
fit.createTask({ model: 'a', year: 1 }, { maxAttempts: '3' });
// @ts-expect-error -- upstreams are tasks, not ids
fit.createTask({ model: 'a', year: 1 }, { upstreams: [1, 2] });
// @ts-expect-error -- an attribute is text
fit.createTask({ model: 'a', year: 1 }, { attributes: { size: 1 } });
// @ts-expect-error -- an option is misspelt
fit.createTask({ model: 'a', year: 1 }, { upstream: [] });
// @ts-expect-error -- memory is a number or text
const resources: ComputeResources = { memory: true };
// @ts-expect-error -- a scale is a number, a list, an iterator or a function
fit.createTask({ model: 'a', year: 1 }, { resourceScales: { memory: true } });
// @ts-expect-error -- a function is given a number, not text
fit.createTask({ model: 'a', year: 1 }, { resourceScales: { memory: (old: string) => old } });
// @ts-expect-error -- a workflow's option is misspelt
tool.createWorkflow({ workflowArg: 'v1' });
// @ts-expect-error -- there are two ways to resume
void tool.createWorkflow().run({ resume: 'warm' });
// @ts-expect-error -- a result is awaited
const result: WorkflowResult = tool.createWorkflow().run();
// @ts-expect-error -- what a task is made of stays
fit.createTask({ model: 'a', year: 1 }).name = 'other';
export { resources, result };
