/** `jobmon agent list`. */
import { listAgents, type AgentView } from '@jobmon/contracts';
import type { Command } from 'commander';
import { output, printRecord, printTable, type Shape } from './print';
import { ask } from './server';

export function addAgentCommands(jobmon: Command): void {
  const agent = jobmon
    .command('agent')
    .description('Agents: they start commands where a cluster is.')
    .addHelpText('after', '\nExample:\n  jobmon agent list');
  agent
    .command('list')
    .description('Agents that are alive or ended within the last day.')
    .addOption(output())
    .addHelpText('after', '\nExample:\n  jobmon agent list')
    .action(list);
}

async function list({ output: shape }: { output: Shape }): Promise<void> {
  const { agents } = await ask(listAgents, {});
  if (shape === 'json') return printRecord(agents);
  printTable(
    [
      { title: 'ID', of: (row: AgentView) => row.agent_id, align: 'right' },
      { title: 'STATE', of: (row) => (row.is_alive ? 'alive' : 'ended') },
      { title: 'SINCE', of: (row) => row.registered_date },
      { title: 'USER', of: (row) => (row.any_user ? `${row.user} (any)` : row.user), isFlexible: true },
      { title: 'HOST', of: (row) => row.hostname, isFlexible: true },
      { title: 'CLUSTERS', of: (row) => row.clusters.join(', '), isFlexible: true },
    ],
    agents,
  );
}
