/**
 * The page of states that are not final (design rule 5.10): who has each in his hands, until when, what ends it when he does not, and the
 * tests that it ends. Tests are named by their titles, which are read from the sources; nothing is run.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { taskInstanceMachine, taskMachine, workflowMachine, workflowRunMachine, type Machine } from '@jobmon/contracts';
import { inline, specsIn, testsIn, type Test } from './operations';

/** One row: of which letters, owner, deadline, rule, titles of tests. `driver`: of whose runs, where that makes a difference. */
export interface Row {
  readonly states: string;
  readonly of?: 'client' | 'server';
  readonly owner: string;
  readonly deadline: string;
  readonly rule: string;
  readonly tests: readonly string[];
}

const LOST = 'P4 ends each lost client run by its rule, whoever made it, and leaves the others (races 20, 43, 44)';
const LEFT =
  'attempts that an ended client run left behind end a day later, past their deadlines; others stay (design rule 5.10)';
const HELD_BY_NOBODY = 'a workflow that no run holds ends after a week of binding, or a day in any other state (races 41, 52)';
const TAKEN_OVER = 'take over what a killed one held, in the middle, with no task lost or queued twice (race 23)';
const SILENT_AGENT = 'ends every live attempt of a silent agent with the retry rule and a reason, and closes the agent';
const SETTLED = 'brings a run that was told to stop to its end, and then the resume that waits for it';
const TRIAGED = 'E61 races 7, 17, 51: what nobody can say anything about ends by itself, and its task is tried again';
const NOT_HEARD =
  'E61 race 54: what stood in doubt while nobody could be heard is not given up before its worker has asked again';
const WITH_ITS_RUN = 'neither half moves when the other cannot (race 41), and a client run is left alone';
const LEASE = 'its lease, 6 s (`scheduler.lease_seconds`)';
const AGENT_LEASE = "its agent's lease, 60 s (`agent.lease_seconds`)";
const BEAT = "its client's next beat, 93 s";
const END_LEFT = 'when its run has ended: a day later the reaper ends it (F), its task with it; a resume does so at once';

/** By machine, in the order of its states. */
export const STATES: readonly (readonly [Machine<string>, readonly Row[]])[] = [
  [
    workflowMachine,
    [
      {
        states: 'G',
        owner: 'whoever binds it; once a run has linked, that run',
        deadline: 'a week without a run',
        rule: 'the reaper aborts it (A); it may be bound and run nevertheless',
        tests: [HELD_BY_NOBODY],
      },
      {
        states: 'Q I O R',
        owner: 'its run, which it follows in the same transaction',
        deadline: "its run's; a day without a run",
        rule: 'ends with its run; when there is none (a program changed one of the two alone) the reaper lets it fail (F)',
        tests: [WITH_ITS_RUN, HELD_BY_NOBODY],
      },
    ],
  ],
  [
    workflowRunMachine,
    [
      {
        states: 'G',
        owner: 'nobody: no transaction of ours leaves a run there',
        deadline: 'none',
        rule: 'rows of the Python system are its record of a refused link; they hold nothing, and nobody waits for them',
        tests: ['E56 links exactly one of eight starts at once, and hands it to nobody else (race 43)'],
      },
      {
        states: 'L',
        of: 'client',
        owner: 'its client',
        deadline: BEAT,
        rule: 'the reaper aborts it and its workflow (A)',
        tests: [LOST],
      },
      {
        states: 'B I O R',
        of: 'client',
        owner: 'its client',
        deadline: BEAT,
        rule: 'the reaper ends it (E), its workflow fails (F)',
        tests: [LOST],
      },
      {
        states: 'C H',
        of: 'client',
        owner: 'its client, which drains it',
        deadline: BEAT,
        rule: 'the reaper stops its attempts, waits for those that are told to stop, and terminates it (T, workflow H); D when all tasks are done',
        tests: [LOST, 'P4 lets a run be done whose tasks all are, although it was told to stop (race 45)'],
      },
      {
        states: 'L',
        of: 'server',
        owner: 'nobody: it is passed within one transaction',
        deadline: 'none',
        rule: 'it can not stand there',
        tests: [WITH_ITS_RUN],
      },
      {
        states: 'B I O R',
        of: 'server',
        owner: 'the scheduler that holds its lease',
        deadline: LEASE,
        rule: 'another scheduler takes it over and goes on',
        tests: [TAKEN_OVER],
      },
      {
        states: 'C H',
        of: 'server',
        owner: 'the scheduler that holds its lease, which settles it',
        deadline: LEASE,
        rule: 'another scheduler takes it over; it ends (T) when its last attempt has, and each attempt ends by its own deadline',
        tests: [SETTLED, TAKEN_OVER],
      },
    ],
  ],
  [
    taskMachine,
    [
      {
        states: 'G',
        owner: 'the scheduler or the client of the live run; without a run nobody, and nothing waits for it',
        deadline: "its run's",
        rule: 'queued when its upstreams are done; the run ends when nothing can be queued any more',
        tests: ['queues a failed attempt again, and ends in ERROR when one fails for good, with its downstreams untouched', LOST],
      },
      {
        states: 'Q I O R',
        owner: 'its current attempt, which it follows in the same transaction',
        deadline: "its attempt's",
        rule: 'ends, or is made ready again, with its attempt',
        tests: ['race 13: instance and task move together or not at all', SILENT_AGENT],
      },
      {
        states: 'A',
        owner: 'the scheduler or the client of the live run, which queues it with larger resources',
        deadline: "its run's",
        rule: 'queued like G; a resume takes it up',
        tests: ['Z, A, larger, Z again, larger still, E: as large again; the task keeps its own request for a reset'],
      },
      {
        states: 'E',
        owner: 'nobody: it is passed within one transaction, but E53 leaves it for the resume that follows',
        deadline: 'the resume',
        rule: 'a resume makes it ready (G)',
        tests: ['E53 takes only tasks in E or F whose latest attempt is Z, and whose rule makes something larger'],
      },
    ],
  ],
  [
    taskInstanceMachine,
    [
      {
        states: 'Q',
        of: 'client',
        owner: "its run's distributor",
        deadline: "its run's",
        rule: `${END_LEFT}`,
        tests: [LEFT, 'E57 E22 E23 E46: a drain beside workers that end: a success counts, nothing is left (races 4, 5, 30, 32)'],
      },
      { states: 'I', of: 'client', owner: "its run's distributor", deadline: "its run's", rule: END_LEFT, tests: [LEFT] },
      {
        states: 'O R',
        of: 'client',
        owner: 'its distributor (O), its worker (R)',
        deadline: 'the next beat, 279 s; a launch also 558 s old',
        rule: `triaged when its run asks (O→X, R→T); ${END_LEFT}`,
        tests: ['E61 races 2, 15: a launch is given up when it is silent and old, and then retried, not killed', LEFT],
      },
      {
        states: 'T X',
        of: 'client',
        owner: "its run's distributor, which asks the cluster",
        deadline: '558 s, and 150 s after the server was away',
        rule: `given up and its task tried again (T→U, X→E); after a hot resume by the run that followed; ${END_LEFT}`,
        tests: [
          TRIAGED,
          NOT_HEARD,
          'E61 race 31: what survived a hot resume carries the older run and is looked after all the same',
          LEFT,
        ],
      },
      {
        states: 'K',
        of: 'client',
        owner: 'its worker, else its distributor',
        deadline: '558 s, and 150 s after the server was away',
        rule: `ended by triage, by the reaper with its run, or by an operator (F), although its task was reset; ${END_LEFT}`,
        tests: [
          'E61 race 17: an order to stop that nobody carries out ends, also where an ended run left it',
          'E4 races 17, 46: what was ordered to stop ends, also when its task was reset or has ended',
          NOT_HEARD,
          LEFT,
        ],
      },
      {
        states: 'Q',
        of: 'server',
        owner: 'its run; an agent that has room takes it',
        deadline: "its run's",
        rule: 'waits for an agent however long that takes, which the explanation of its task tells; a drain or a cancel gives it back',
        tests: [
          'drain: what nobody has taken is given back uncounted, what runs may finish, then the run is T and the workflow HALTED',
        ],
      },
      {
        states: 'I O R T X',
        of: 'server',
        owner: 'the agent that holds it',
        deadline: AGENT_LEASE,
        rule: 'the reaper ends it (I→W, O R T→U, X→E), its task is tried again; an agent that starts in the same place adopts it first',
        tests: [
          SILENT_AGENT,
          'race 54: ends no agent while all apis are away, and none before one has been back for a whole lease',
        ],
      },
      {
        states: 'K',
        of: 'server',
        owner: 'the agent that holds it, which kills the command',
        deadline: AGENT_LEASE,
        rule: 'its agent reports the end within seconds (SIGKILL after ten), or the reaper ends it (F)',
        tests: [
          SILENT_AGENT,
          'cancel: what agents hold is ordered to stop and its agent told; a drain becomes a cancel, never the other way',
        ],
      },
    ],
  ],
];

/** What is no machine and waits nevertheless. */
export const OTHERS: readonly (Omit<Row, 'states'> & { readonly what: string })[] = [
  {
    what: '`agent`',
    owner: 'its process',
    deadline: AGENT_LEASE,
    rule: 'the reaper ends what it held and closes its row, once an api has been there for a whole lease without a break',
    tests: ['ends all that a silent agent held, in pieces, each with its retry rule, and closes the agent'],
  },
  {
    what: '`workflow_command`',
    owner: 'whoever asked for it; one that waits for a run to end: the scheduler',
    deadline: '15 s without a piece',
    rule: 'the reaper goes on with it; one that waits gives up by its own deadline',
    tests: [
      'E18 that was cut off is brought to its end, one that is being done is left to whoever does it',
      'a cold resume of what a client left behind kills it first, and gives up waiting when its deadline has passed',
    ],
  },
  {
    what: '`scheduler` with its leases',
    owner: 'its process',
    deadline: LEASE,
    rule: 'others take what it held; its writes change nothing any more',
    tests: [TAKEN_OVER],
  },
  {
    what: '`service_instance` (api, reaper)',
    owner: 'its process',
    deadline: "a third of an agent's lease; two passes of a reaper",
    rule: 'counts as away; another reaper works',
    tests: ['works alone beside others, and when it dies another one takes its place'],
  },
];

/** `docs/deadlines.md`, whole. @throws when a title is of no test. */
export function deadlinesPage(root: string): string {
  const tests = specsIn(root).flatMap((file) => testsIn(readFileSync(join(root, file), 'utf8'), file));
  const linked = (titles: readonly string[]): string => titles.map((title) => link(tests, title)).join('<br>');
  const sections = STATES.map(([machine, rows]) => {
    const lines = rows.map(({ states, of, owner, deadline, rule, tests: titles }) => {
      const names = states.split(' ').map((letter) => `${letter} ${machine.states[letter]?.label ?? ''}`.trim());
      return `| ${names.join(', ')}${of === undefined ? '' : `<br>(${of} run)`} | ${owner} | ${deadline} | ${rule} | ${linked(titles)} |`;
    });
    return `## ${machine.name}\n\n| state | owner | deadline | rule | tests |\n| --- | --- | --- | --- | --- |\n${lines.join('\n')}\n`;
  });
  const others = OTHERS.map((row) => `| ${row.what} | ${row.owner} | ${row.deadline} | ${row.rule} | ${linked(row.tests)} |`);
  return `# Deadlines

Every state that is not final has an owner, a deadline and a rule that ends it (design rule 5.10), and tests that it ends. All deadlines are
columns, compared by the database's clock. Generated by \`npm run docs\` from a table that is compared with the machines: a state without a
row fails a test.

${sections.join('\n')}
## What is no machine and waits nevertheless

| what | owner | deadline | rule | tests |
| --- | --- | --- | --- | --- |
${others.join('\n')}
`;
}

function link(tests: readonly Test[], title: string): string {
  const found = tests.find((test) => test.title === title);
  if (found === undefined) throw new Error(`there is no test '${title}': correct its name in tools/deadlines.ts`);
  return `[${inline(title)}](../${found.file})`;
}
