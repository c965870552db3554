/**
 * A first workflow: count the words of three texts side by side, then add the counts up.
 * With a house running: `node tools/run-example.mjs examples/first-workflow.ts`.
 */
import { mkdirSync } from 'node:fs';
import { Tool } from '@jobmon/client';

const tool = new Tool('word count', { defaultClusterName: 'multiprocess' });

// The placeholders in braces are the arguments of the tasks; the compiler knows them.
const countWords = tool.getTaskTemplate('count_words', 'echo "{text}" | wc -w > words-{day}.txt');
const addUp = tool.getTaskTemplate('add_up', 'cat words-*.txt | awk \'{{ sum += $1 }} END {{ print sum, "{unit}" }}\'');

const texts = {
  monday: 'the rain in spain',
  tuesday: 'stays mainly',
  wednesday: 'in the plain',
};

const workflow = tool.createWorkflow({ name: 'first workflow' });
const counts = Object.entries(texts).map(([day, text]) => workflow.addTask(countWords.createTask({ day, text })));
const total = workflow.addTask(addUp.createTask({ unit: 'words' }, { upstreams: counts, maxAttempts: 2 }));

mkdirSync('word-count', { recursive: true });
const result = await workflow.run({ workingDirectory: 'word-count' });
console.log(`workflow ${result.workflowId} is ${result.status}: ${result.counts.done} of ${result.counts.total} tasks done`);
console.log(`see its output: npx jobmon task log ${total.taskId}`);
process.exitCode = result.isDone ? 0 : 1;
