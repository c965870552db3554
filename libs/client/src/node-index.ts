/** Finds tasks by their template and the values of their node arguments, for wiring graphs of a million tasks. */
import { JobmonError } from '@jobmon/contracts';
import type { Task } from './task';
import type { ArgValue } from './task-template';

/** Node argument to the value or values that are looked for. */
export type NodeArgFilter = Readonly<Record<string, ArgValue | Iterable<ArgValue>>>;

/** The tasks of one template name in their order, with an index for each argument that was ever asked for. */
interface OfTemplate {
  readonly tasks: Task[];
  /** Argument to value to positions in `tasks`, ascending; filled up to position `indexed`. */
  readonly byArg: Map<string, { readonly byValue: Map<string, number[]>; indexed: number }>;
}

export class NodeIndex {
  readonly #templates = new Map<string, OfTemplate>();

  add(task: Task): void {
    const { name } = task.template;
    const known = this.#templates.get(name);
    if (known === undefined) this.#templates.set(name, { tasks: [task], byArg: new Map() });
    else known.tasks.push(task);
  }

  /** As `Workflow.getTasksByNodeArgs` says. */
  find(templateName: string, nodeArgs: NodeArgFilter): Task[] {
    const template = this.#templates.get(templateName);
    if (template === undefined) {
      const names = [...this.#templates.keys()].join(', ') || 'none yet';
      throw new JobmonError('MALFORMED', `the workflow has no tasks of a template '${templateName}'; it has tasks of ${names}`);
    }
    const wanted = Object.entries(nodeArgs).map(([arg, given]) => {
      const values = new Set((typeof given === 'object' ? [...given] : [given]).map(String));
      const byValue = positionsByValue(template, templateName, arg);
      return { arg, values, positions: [...values].flatMap((value) => byValue.get(value) ?? []) };
    });
    const [fewest] = wanted.sort((a, b) => a.positions.length - b.positions.length);
    if (fewest === undefined) return [...template.tasks];
    const found = fewest.positions.sort((a, b) => a - b).map((position) => template.tasks[position]!);
    return found.filter((task) => wanted.every(({ arg, values }) => values.has(valueOf(task, arg)!)));
  }
}

/** Made when an argument is first asked for, and kept up since. */
function positionsByValue(template: OfTemplate, templateName: string, arg: string): ReadonlyMap<string, number[]> {
  const index = template.byArg.get(arg) ?? { byValue: new Map<string, number[]>(), indexed: 0 };
  for (; index.indexed < template.tasks.length; index.indexed++) {
    const task = template.tasks[index.indexed]!;
    const value = valueOf(task, arg);
    if (value === undefined) {
      const known = task.template.nodeArgs.join(', ') || 'none';
      throw new JobmonError('MALFORMED', `'${arg}' is no node argument of the template '${templateName}'; it has ${known}`);
    }
    const standing = index.byValue.get(value);
    if (standing === undefined) index.byValue.set(value, [index.indexed]);
    else standing.push(index.indexed);
  }
  template.byArg.set(arg, index);
  return index.byValue;
}

function valueOf({ template, values }: Task, arg: string): string | undefined {
  return template.nodeArgs.includes(arg) ? values[template.names.indexOf(arg)] : undefined;
}
