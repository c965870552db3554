/** What a run told: the table that a person reads, and what of it is wrong. */
import { cpus } from 'node:os';
import { SERVICES, VIOLATIONS } from '@jobmon/testkit';
import type { Story } from './play';

/** Longest that a client may wait. */
const WAIT_SECONDS_MAX = 5;

/** Each breach of what a rolling restart promises, in a sentence. Empty when it held. */
export function wrongIn({ phases, upgrade, replacements, answers, asker, judged, deaths }: Story): string[] {
  const refused = [...answers.counts].filter(([status]) => /^4/.test(status));
  // Every kind of phase must have had work in it once, or nothing was shown.
  const idle = [...new Set(phases.map(({ what }) => what))].filter((what) =>
    phases.every((phase) => phase.what !== what || phase.starts === 0),
  );
  return [
    ...(upgrade === undefined ? [] : idle.map((what) => `no command was begun with ${what}: take more --tasks`)),
    ...judged.violations.map(({ kind, what }) => `${kind}: ${what}`),
    ...refused.map(([status, count]) => `${count} requests were answered ${status}`),
    ...[asker.longest.seconds, answers.longest.seconds]
      .filter((seconds) => seconds > WAIT_SECONDS_MAX)
      .map((seconds) => `a client waited ${seconds.toFixed(2)} s`),
    ...asker.failures.map((failure) => `a call failed for good: ${failure}`),
    ...deaths.map((why) => `the Python client had to be started again: ${why}`),
    ...replacements.filter(({ exit }) => exit !== 0).map(({ service, exit }) => `a ${service} ended with ${exit}`),
  ];
}

const table = (heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string =>
  [heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

function spread(values: readonly number[]): [string, string] {
  const sorted = [...values].sort((a, b) => a - b);
  return [sorted[Math.floor(sorted.length / 2)]!.toFixed(1), sorted.at(-1)!.toFixed(1)];
}

/** What the releases did, and what became of the schema. */
function upgradeOf({ upgrade, phases }: Story): string {
  const { from, migration_seconds, migrated } = upgrade!;
  const told = migrated.split('\n').filter((line) => line !== '');
  const steps = told.map((line) => `- ${line.replace(/^Migrating the database .*?: /, '')}\n`).join('');
  return `All services and both agents are of the older release, ${from}, when the work begins. This release's \`jobmon-server db migrate\` was killed
with -9 in its first step; called again it took
${migration_seconds.toFixed(1)} s while they worked. It told:

${steps}
Then they went on with the newer schema; then every service was replaced by this release's, and back again, until the tasks had ended. The agents
stay what they are, the Python client is the published one, and the SDK that asks is this release's.

${table(
  ['what ran', 's', 'commands begun'],
  phases.map(({ what, seconds, starts }) => [what, seconds.toFixed(1), starts]),
)}

`;
}

/** The page in bench/results. */
export function reportOf(story: Story): string {
  const { tasks, python_tasks, seconds, upgrade, replacements, answers, asker, judged, longest_standstill_seconds, deaths } =
    story;
  const releases = [...new Set(replacements.map(({ release }) => release))];
  const restarts = SERVICES.flatMap((service) =>
    releases.map((release) => {
      const own = replacements.filter((one) => one.service === service && one.release === release);
      const up = spread(own.map(({ up_seconds }) => up_seconds));
      const down = spread(own.map(({ down_seconds }) => down_seconds));
      const name = releases.length === 1 ? service : `${service}, to ${release}`;
      return [name, own.length, ...up, ...down, own.filter(({ exit }) => exit !== 0).length];
    }),
  );
  const heads = ['service', 'restarts', 'new one ready after, s: p50', 'max', 'old one gone after, s: p50', 'max', 'exit not 0'];
  const ofKind = (wanted: string): number => judged.violations.filter(({ kind }) => kind === wanted).length;
  const refused = [...answers.refused].sort((a, b) => b[1] - a[1]).slice(0, 20);
  const started = [...judged.started].map(([name, count]) => `${name} ${count}`).join(', ');
  return `# ${upgrade === undefined ? 'Every service restarted' : `Upgraded from ${upgrade.from} and rolled back`} while ${tasks} tasks run

${upgrade === undefined ? '' : upgradeOf(story)}${table(heads, restarts)}

${table(
  ['answer', 'requests'],
  [...answers.counts].sort(([a], [b]) => a.localeCompare(b)),
)}

${table(
  ['of clients', ''],
  [
    ['longest wait for an answer, s', `${answers.longest.seconds.toFixed(2)} (${answers.longest.request})`],
    [
      `longest of ${asker.calls} calls of the SDK with all their tries, s`,
      `${asker.longest.seconds.toFixed(2)} (${asker.longest.what})`,
    ],
    ['calls of the SDK that failed for good', asker.failures.length],
    ['Python client started again', deaths.length],
    ['longest time between two starts of commands that the server drives, s', longest_standstill_seconds.toFixed(2)],
  ],
)}

${table(
  ['violation', 'times'],
  VIOLATIONS.map((kind) => [kind, ofKind(kind)]),
)}

${refused.map(([what, count]) => `- ${count} × \`${what}\`\n`).join('')}
Two of each service, two agents, and the published Python client with ${python_tasks} of the tasks, on MariaDB and a NATS with an account for each service;
${seconds.toFixed(0)} s; commands started: ${started}. Each process was replaced in turn, all services round after round until the tasks had ended: the
new one ready first, then SIGTERM to the old one. In front of the apis stands an address that passes connections on to those whose
\`/health/ready\` answered 200 when it looked last, once a second. Answers are counted on the wire; \`none\` is a request that the server's side ended without an
answer, and its client asked again. Waits are from the first byte of a request to the first of its answer, without the long polls of
agents. Exit code 1 for a violation, a 4xx, a wait above ${WAIT_SECONDS_MAX} s, a call that failed for good or a process that did not end in order.

Repeat it with \`npm run bench -- rolling --tasks ${tasks}${upgrade === undefined ? '' : ` --from ${upgrade.from}`}\`; ${cpus().length} cores.
`;
}
