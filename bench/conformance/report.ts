/** The page about what the Python clients asked and were answered. */
import { summaryOf, type Exchange } from '@jobmon/testkit';
import { ALWAYS_EXPECTED, type Story } from '../../apps/local/test/python/stage';

/** One story on one kind of database. */
export interface Played {
  readonly database: string;
  readonly story: Story;
  readonly seconds: number;
  readonly exchanges: readonly Exchange[];
  /** Empty when all was well. */
  readonly fault: string;
}

const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
  [row(head), row(head.map(() => '---')), ...rows.map((cells) => row(cells))].join('\n');
const unique = <T>(values: readonly T[]): T[] => [...new Set(values)];

/** What stands behind the clients. */
const BEHIND = {
  house: { title: 'a house', place: 'a house of its own on each database', command: 'npm run conformance' },
  services: {
    title: 'two of each service',
    place: 'two of each service over NATS and MariaDB',
    command: 'npm run conformance -- --apart',
  },
} as const;

/** The whole page; `machine` says on what it was run. */
export function reportOf(played: readonly Played[], machine: string, behind: keyof typeof BEHIND): string {
  const stands = unique(played.map(({ database }) => database));
  const { title, place, command } = BEHIND[behind];
  return `# The published Python clients against ${title}

\`jobmon_client\` 3.3.0 and \`jobmon_core\` 3.4.8 as PyPI has them, unmodified, against ${place}; every request goes through a
recorder. Each story starts scripts, lets things happen to them, and compares what the client says, what the database holds, and what
the commands themselves wrote into their diary. Heartbeats are set to one second. The stories of 1,000 tasks
and of the command line are played alone, the others five at a time; the time is nearly all the clients' own, since the start of a worker takes a
second of a core.

Repeat it with \`${command}\`; ${machine}.

## Stories

${table(['story', 'database', 'seconds', 'requests', 'not 200', 'outcome'], storyRows(played))}

## Answers that were not 200

${oddOf(played)}

## Requests by operation

${table(['operation', ...stands], operationRows(played, stands))}
`;
}

function storyRows(played: readonly Played[]): (string | number)[][] {
  return played.map(({ database, story, seconds, exchanges, fault }) => [
    story.title,
    database,
    seconds.toFixed(0),
    exchanges.length,
    exchanges.filter(({ status }) => status !== 200).length,
    fault === '' ? 'good' : 'wrong',
  ]);
}

function oddOf(played: readonly Played[]): string {
  const rows = played.flatMap(({ database, story, exchanges }) =>
    summaryOf(exchanges).flatMap(({ operation, not_200 }) =>
      Object.entries(not_200).map(([status, count]) => [
        operation,
        status === '0' ? 'none' : status,
        count,
        `${story.title} (${database})`,
        [...(story.expected ?? []), ...ALWAYS_EXPECTED].find((one) => String(one.status) === status)?.reason ?? 'unexpected',
      ]),
    ),
  );
  return rows.length === 0 ? 'None.' : table(['operation', 'answer', 'times', 'story', 'why'], rows);
}

function operationRows(played: readonly Played[], databases: readonly string[]): (string | number)[][] {
  const counts = databases.map(
    (database) =>
      new Map(
        summaryOf(played.filter((one) => one.database === database).flatMap(({ exchanges }) => exchanges)).map((one) => [
          one.operation,
          one.requests,
        ]),
      ),
  );
  return summaryOf(played.flatMap(({ exchanges }) => exchanges)).map(({ operation }) => [
    operation,
    ...counts.map((count) => count.get(operation) ?? 0),
  ]);
}
