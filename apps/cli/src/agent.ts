/** `jobmon agent`: starts an agent in this process; and list, show, drain, restore for those that are there. */
import {
  drainAgent,
  getAgent,
  listAgents,
  restoreAgent,
  type AgentView,
  type HeldAttempt,
  type ReplyOf,
} from '@jobmon/contracts';
import { loginName } from '@jobmon/client';
import { InvalidArgumentError, type Command } from 'commander';
import { printFields, printList, printOne, printTable, type Column, type Fields } from './print';
import { ask, findApi, parseId, parseSeconds, parseWords } from './server';
import { instanceLabel } from './task-instance';
import { countOf } from './text';

interface StartFlags {
  readonly cluster?: string[];
  readonly cores?: number;
  readonly memory?: number;
  readonly anyUser?: boolean;
  readonly state?: string;
  readonly drainTimeout?: number;
}

export function addAgentCommands(jobmon: Command): void {
  const agent = jobmon
    .command('agent')
    .description('Start an agent on this machine, which runs commands for a server; or look at agents and steer them.')
    .option('--cluster <name>', 'serve this cluster, repeatable; sequential, multiprocess and dummy when absent', parseWords)
    .option('--cores <number>', 'cores that commands may ask for together; those of this machine when absent', parseCores)
    .option(
      '--memory <size>',
      'memory that they may ask for together, as 32G or 512M; that of this machine when absent',
      parseGib,
    )
    .option('--any-user', "run other users' workflows too, as yourself")
    .option('--state <folder>', 'where records of running commands outlive the agent; on a disk of this machine')
    .option(
      '--drain-timeout <time>',
      'wait so long for running commands when told to go, as 90, 15m or 2h; a day when absent',
      parseSeconds,
    )
    .addHelpText(
      'after',
      `
It runs until SIGTERM or Ctrl-C: then it takes nothing new, waits for its
running commands, and leaves. A second signal leaves at once: commands go on,
and the next agent here takes them up.

Examples:
  jobmon agent --cluster multiprocess --cores 8 --memory 32G
  JOBMON__HTTP__TOKEN=… jobmon agent --server http://head:8070 --any-user
  jobmon agent list
  jobmon agent drain 3 --reason 'new kernel'`,
    )
    .allowExcessArguments()
    .action(start);
  agent
    .command('list')
    .description('Agents that are there or ended within the last day, with what they run.')
    .addHelpText('after', '\nExample:\n  jobmon agent list')
    .action(list);
  agent
    .command('show')
    .description('One agent with its newest attempts.')
    .argument('<agent id>', 'the number that `jobmon agent list` shows', parseId)
    .addHelpText('after', '\nExample:\n  jobmon agent show 3')
    .action(show);
  agent
    .command('drain')
    .description('Let an agent finish what it runs and leave; it gets nothing new.')
    .argument('<agent id>', 'the number that `jobmon agent list` shows', parseId)
    .option('--reason <text>', 'why, for others who look', '')
    .addHelpText('after', "\nExample:\n  jobmon agent drain 3 --reason 'new kernel'")
    .action(drain);
  agent
    .command('restore')
    .description('Let an agent take work again that was set aside or told to drain.')
    .argument('<agent id>', 'the number that `jobmon agent list` shows', parseId)
    .option('--reason <text>', 'why, for the log of the server', '')
    .addHelpText('after', '\nExample:\n  jobmon agent restore 3')
    .action(restore);
}

/** The agent is loaded only here, so that other commands start quickly. */
async function start(flags: StartFlags, agent: Command): Promise<void> {
  const [unknown] = agent.args;
  if (unknown !== undefined) {
    const known = agent.commands.map((command) => command.name()).join(', ');
    agent.error(`error: unknown command '${unknown}': there are ${known}, and options to start an agent`, { exitCode: 2 });
  }
  const { runAgent } = await import('@jobmon/agent');
  const exit_code = await runAgent(
    {
      clusters: flags.cluster,
      cores: flags.cores,
      memory_gib: flags.memory,
      any_user: flags.anyUser,
      state_directory: flags.state,
      drain_timeout_seconds: flags.drainTimeout,
    },
    findApi,
  );
  process.exit(exit_code);
}

const LISTED: Fields<AgentView> = {
  agent_id: (row) => row.agent_id,
  state: (row) => stateOf(row),
  reason: (row) => row.reason,
  hostname: (row) => row.hostname,
  user: (row) => row.user,
  any_user: (row) => row.any_user,
  clusters: (row) => row.clusters,
  registered_date: (row) => row.registered_date,
  lease_until_date: (row) => row.lease_until_date,
  attempts: (row) => attemptsOf(row),
  running: (row) => row.attempts.R ?? 0,
  cores: (row) => row.cores,
  cores_in_use: (row) => row.cores_in_use,
  memory_gib: (row) => row.memory_gib,
  memory_gib_in_use: (row) => row.memory_gib_in_use,
  newest: (row) => row.newest.map(recordOfAttempt),
};

async function list(): Promise<void> {
  const { agents } = await ask(listAgents, {});
  printList(agents, LISTED, [
    { title: 'ID', of: (row) => row.agent_id, align: 'right' },
    { title: 'STATE', of: stateOf, isStatus: true },
    { title: 'HOST', of: (row) => row.hostname, isFlexible: true },
    { title: 'USER', of: (row) => (row.any_user ? `${row.user} (any)` : row.user), isFlexible: true },
    { title: 'RUNS', of: attemptsOf, align: 'right' },
    { title: 'CORES', of: coresOf, align: 'right' },
    { title: 'MEMORY', of: memoryOf, align: 'right' },
    { title: 'CLUSTERS', of: (row) => row.clusters.join(', '), isFlexible: true },
    { title: 'NEWEST', of: (row) => row.reason ?? row.newest[0]?.task_name, isFlexible: true },
  ]);
}

const ATTEMPT_COLUMNS: readonly Column<HeldAttempt>[] = [
  { title: 'TASK', of: (row) => row.task_id, align: 'right' },
  { title: 'STATUS', of: (row) => instanceLabel(row.status), isStatus: true },
  { title: 'SINCE', of: (row) => row.status_date },
  { title: 'CORES', of: (row) => row.cores, align: 'right' },
  { title: 'MEMORY', of: (row) => gibText(row.memory_gib), align: 'right' },
  { title: 'WORKFLOW', of: (row) => row.workflow_id, align: 'right' },
  { title: 'NAME', of: (row) => row.task_name, isFlexible: true },
];

async function show(agent_id: number): Promise<void> {
  const { agent } = await ask(getAgent, { agent_id });
  const fields: Fields<typeof agent> = {
    ...LISTED,
    state_directory: (row) => row.state_directory,
    process_id: (row) => row.process_id,
    version: (row) => row.version,
  };
  printOne(agent, fields, () => {
    printFields([
      ['agent', agent.agent_id],
      ['state', stateOf(agent)],
      ['reason', agent.reason],
      ['host', `${agent.hostname}, process ${agent.process_id}`],
      ['user', agent.any_user ? `${agent.user}, serves everybody` : agent.user],
      ['clusters', agent.clusters.join(', ')],
      ['since', agent.registered_date],
      ['lease until', agent.lease_until_date],
      ['attempts', attemptsOf(agent)],
      ['cores', coresOf(agent)],
      ['memory', memoryOf(agent)],
      ['state folder', agent.state_directory],
      ['version', agent.version],
    ]);
    if (agent.newest.length === 0) return;
    process.stdout.write('\n');
    printTable(ATTEMPT_COLUMNS, agent.newest);
  });
}

async function drain(agent_id: number, { reason }: { reason: string }): Promise<void> {
  const reply = await ask(drainAgent, { agent_id, user: loginName(), reason });
  const { agent } = await ask(getAgent, { agent_id });
  const count = attemptsOf(agent);
  const rest =
    count === 0 ? 'has nothing left to do' : `leaves when its ${countOf(count, 'attempt')} ${count === 1 ? 'has' : 'have'} ended`;
  printStanding('drain', reply, `agent ${agent_id} on ${agent.hostname} gets nothing new and ${rest}`);
}

async function restore(agent_id: number, { reason }: { reason: string }): Promise<void> {
  const reply = await ask(restoreAgent, { agent_id, user: loginName(), reason });
  printStanding('restore', reply, `agent ${agent_id} takes work again`);
}

function printStanding(verb: string, reply: ReplyOf<typeof drainAgent>, sentence: string): void {
  const fields: Fields<typeof reply> = { agent_id: (row) => row.agent_id, verb: () => verb, state: stateOf };
  printOne(reply, fields, () => process.stdout.write(`${sentence}\n`));
}

const stateOf = ({ state }: Pick<AgentView, 'state'>): string => state.toUpperCase();

const attemptsOf = ({ attempts }: AgentView): number => Object.values(attempts).reduce((sum, count) => sum + count, 0);

const coresOf = (row: AgentView): string => (row.cores === null ? '-' : `${row.cores_in_use}/${row.cores}`);

const memoryOf = (row: AgentView): string =>
  row.memory_gib === null ? '-' : `${gibText(row.memory_gib_in_use)}/${gibText(row.memory_gib)}G`;

/** With one decimal where that tells something. */
const gibText = (gib: number): string => String(gib < 10 ? Math.round(gib * 10) / 10 : Math.round(gib));

function recordOfAttempt(attempt: HeldAttempt): Record<string, unknown> {
  return { ...attempt, status: instanceLabel(attempt.status) };
}

function parseCores(text: string): number {
  const cores = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (cores < 1 || cores > 4_096) throw new InvalidArgumentError('It must be a whole number from 1 to 4096.');
  return cores;
}

/** GiB: `32G`, `512M`, `1.5T`; a number alone is GiB. */
function parseGib(text: string): number {
  const [, number, unit = 'G'] = /^(\d{1,7}(?:\.\d+)?)\s*([MGT])?i?B?$/i.exec(text.trim()) ?? [];
  const gib = Number(number) * ({ M: 1 / 1_024, G: 1, T: 1_024 }[unit.toUpperCase()] ?? NaN);
  if (!(gib >= 0.01 && gib <= 1_000_000)) throw new InvalidArgumentError('It must be a size like 32G, 512M or 1.5T, above 0.');
  return gib;
}
