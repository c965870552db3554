/**
 * The page of the 56 races (spec/state-machines.md section 15), each with its tests: those that have its number in their title, `race 12`
 * or `races 12, 23 and 34`. Titles are read from the sources; nothing is run.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inline, specsIn, testsIn } from './operations';

/** What must hold, and what of it waits for something that is not there yet. By number, from 1. */
const RACES: readonly (readonly [rule: string, later?: string])[] = [
  ['A launch resolves its batch by place and writes by primary key'],
  ['A launch that never reported is a state of its own, and is tried again'],
  ['One failure that is told twice counts once'],
  ['A success beats the order to stop while the task still expects it'],
  ['A workflow is stopped batch by batch'],
  ['One time-out for a resume, end to end', 'later, needs a resume of the native client: the server keeps no such time-out'],
  ['What is triaged ends within a bounded time', 'how a plug-in tells failures apart: later, needs the plug-ins of clusters'],
  [
    'Readiness is a message, not a line of a stream',
    'later, needs a distributor of ours: the Python one is started by its swarm',
  ],
  ['Small pieces, by primary key, in short transactions'],
  ['Task and instance in one transaction, deadlocks tried again'],
  ['A batch number is taken under the lock of its array'],
  ['Everything that was asked about is answered with what stands'],
  ['Task and instance move both or neither'],
  ['Triage looks without locks and writes under a repeated condition'],
  ['A launch is given up only when its state is old too'],
  ['Final reports are accepted from T'],
  ['Every state that is not final ends'],
  ['One transaction for a command, closed whatever happens'],
  ['A template version is inserted or found, by many at one time'],
  ['Runs are reaped by status and deadline, whatever their version'],
  ['What the server says of a run is so', 'the Python loop that must believe it: later, needs the swarm'],
  ['Every loop has a floor', 'the Python loop: later, needs the swarm'],
  ['A task is queued once'],
  ['An orphan closes without its task'],
  ['A report that is sent again writes no second error row'],
  ['A resume settles what earlier runs left, and waits for what was told to stop'],
  ['A heartbeat brings back what was triaged, and finished work counts'],
  ['Live instances of all earlier runs are settled before new attempts'],
  ["Only a task's current attempt moves it"],
  ['T and X are settled too'],
  ['What survives a hot resume is triaged'],
  ['Q and I are ended together with their tasks'],
  ['What ended is not revived by instantiating it'],
  ['Attempts are made for the tasks that this call moved'],
  ['Steps are numbered once, in the database'],
  ['One order of locks'],
  ['Each try writes all of it'],
  ['Only what was sent is stored'],
  ['Being heard of again is no error'],
  ['One error row for each instance, state and text'],
  ['Run and workflow move both or neither'],
  ['Reaping compares the status under the lock, dates it, and never fails'],
  ['One live run for a workflow; every live status has a deadline'],
  ['A beat moves the deadline in every live status'],
  ['A run that was told to stop may be done'],
  ['What was told to stop ends although its task was reset'],
  ['Every change of a status is dated'],
  ['A sync misses nothing that was committed after it'],
  ['Rows of resources are never changed'],
  ['The look for done workflows goes up to the highest id'],
  ['A triage that nobody can answer is bounded', 'plug-ins that throw: later, needs the swarm'],
  ['A binding that died is taken up again'],
  [
    'What still runs when a run ends is settled before the next',
    'that fail fast, time-out and Ctrl-C stop it: later, needs the swarm',
  ],
  ['A reaper outlives its server'],
  ['Both ways to launch leave the same dates'],
  ['Limits are held where attempts are made (runs of the server)'],
];

/** `docs/races.md`, whole. */
export function racesPage(root: string): string {
  const tests = specsIn(root).flatMap((file) => testsIn(readFileSync(join(root, file), 'utf8'), file));
  const sections = RACES.map(([rule, later], at) => {
    const lines = tests
      .filter(({ title }) => racesOf(title).includes(at + 1))
      .map(({ file, title }) => `- ${inline(title)} ([${file.replace(/^.*\//, '')}](../${file}))`);
    if (later !== undefined) lines.push(`- _${later}_`);
    return `## ${at + 1}\n\n${rule}.\n\n${lines.length > 0 ? lines.join('\n') : 'No test yet.'}\n`;
  });
  return `# Races

What went wrong in the Python system, by the numbers of its list of 56, as the rule that keeps it from happening here, with the tests that
hold the rule. Generated from the specs by \`npm run docs\`; a test fails when it is stale. In slanted letters: what a test cannot show yet.

${sections.join('\n')}`;
}

/** The numbers of the races that a title names. */
export function racesOf(title: string): number[] {
  return [...title.matchAll(/\braces? (\d{1,2}(?:(?:, | and )\d{1,2})*)/g)].flatMap(([, list]) =>
    (list as string).split(/, | and /).map(Number),
  );
}
