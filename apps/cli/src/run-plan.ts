/** What `jobmon run --dry-run` shows: the graph by groups of tasks, level by level, and the commands that would start first. */
import type { PlannedGroup, PlannedTask, WorkflowPlan } from '@jobmon/client';
import { printFields, printRecord, printTable, type Column } from './print';
import { isForPrograms } from './settings';
import { countOf, durationText } from './text';

export function printPlan(plan: WorkflowPlan): void {
  if (isForPrograms()) return printRecord(plan);
  printFields([
    ['workflow', plan.name],
    ['tool', plan.tool],
    ['args', plan.args ?? '(a new workflow each time)'],
    ['tasks', `${plan.tasks} with ${countOf(plan.edges, 'edge')} on ${countOf(plan.levels, 'level')}`],
  ]);
  process.stdout.write('\n');
  const isTold = plan.groups.some(({ name, template }) => name !== template);
  printTable(isTold ? GROUP_COLUMNS : GROUP_COLUMNS.filter(({ title }) => title !== 'TEMPLATE'), plan.groups);
  process.stdout.write('\nfirst commands\n');
  printTable(COMMAND_COLUMNS, plan.first_commands);
  const more = plan.tasks - plan.first_commands.length;
  if (more > 0) process.stdout.write(`and ${more} more\n`);
}

const GROUP_COLUMNS: readonly Column<PlannedGroup>[] = [
  { title: 'LEVEL', of: (group) => group.level, align: 'right' },
  { title: 'TASK', of: (group) => group.name, isFlexible: true },
  { title: 'COUNT', of: (group) => group.tasks, align: 'right' },
  { title: 'TEMPLATE', of: (group) => group.template, isFlexible: true },
  {
    title: 'NEEDS (EDGES)',
    of: (group) => group.needs.map(({ task, edges }) => `${task} (${edges})`).join(', ') || '-',
    isFlexible: true,
  },
  {
    title: 'CLUSTER',
    of: (group) => (group.queue === null ? group.cluster : `${group.cluster}/${group.queue}`),
    isFlexible: true,
  },
  { title: 'RESOURCES', of: resourcesText, isFlexible: true },
];

const COMMAND_COLUMNS: readonly Column<PlannedTask>[] = [
  { title: 'TASK', of: (task) => task.name, isFlexible: true },
  { title: 'RESOURCES', of: resourcesText, isFlexible: true },
  { title: 'COMMAND', of: (task) => task.command, isFlexible: true },
];

/** `2 cores, 512 MiB, 10 min`, then what else is asked for. */
function resourcesText({ resources }: { readonly resources: Readonly<Record<string, unknown>> }): string {
  const { cores, memory, runtime, ...others } = resources;
  const words: string[] = [];
  if (typeof cores === 'number') words.push(cores === 1 ? '1 core' : `${cores} cores`);
  if (typeof memory === 'number') words.push(memory < 1 ? `${round(memory * 1_024)} MiB` : `${round(memory)} GiB`);
  if (typeof runtime === 'number') words.push(durationText(runtime));
  for (const [name, value] of Object.entries(others))
    words.push(`${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return words.join(', ') || '-';
}

const round = (figure: number): number => Math.round(figure * 100) / 100;
