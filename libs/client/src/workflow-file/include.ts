/**
 * The resource files that a workflow file includes: the same files that the Python client reads. A file may include others;
 * what the including file says goes before what it includes, and of two files in a list the later one wins, entry by entry.
 */
import { realpathSync } from 'node:fs';
import path from 'node:path';
import type { ComputeResources } from '../compute-resources';
import type { ResourceScales } from '../resource-scales';
import { check } from './check';
import { didYouMean, shown, type Position, type Problems } from './problem';
import { RESOURCE_FILE, RESOURCE_FILE_RULE } from './schema';
import { Source } from './source';

/** Files of one workflow. */
const FILES_MAX = 100;

/** By cluster. */
export interface Included {
  readonly resources: Map<string, ComputeResources>;
  readonly scales: Map<string, ResourceScales>;
}

export interface Includes {
  readonly tool: Included;
  /** By the name of the template. */
  readonly templates: Map<string, Included>;
}

const nothing = (): Included => ({ resources: new Map(), scales: new Map() });

/**
 * Reads what `source`, a file of tool `tool`, includes. Wrong files are told as problems, at the line that includes them or at
 * their own.
 */
export function readIncludes(source: Source, include: Include, tool: string, problems: Problems): Includes {
  const includes: Includes = { tool: nothing(), templates: new Map() };
  const own = real(source.file);
  new Reader(includes, tool, problems).include(source, include, own === undefined ? [] : [own]);
  return includes;
}

type Include = string | readonly string[] | null | undefined;
type Tree = Readonly<Record<string, unknown>>;

class Reader {
  #count = 0;

  constructor(
    readonly includes: Includes,
    readonly tool: string,
    readonly problems: Problems,
  ) {}

  /** `within` are the files around, outermost first. */
  include(source: Source, include: Include, within: readonly string[]): void {
    const files = typeof include === 'string' ? [include] : (include ?? []);
    files.forEach((name, i) => {
      const at = source.positionOf(typeof include === 'string' ? ['include'] : ['include', i]);
      const file = path.isAbsolute(name) ? name : path.join(source.file === '-' ? '.' : path.dirname(source.file), name);
      const found = real(file);
      if (found === undefined) {
        this.problems.add(at, `the included file '${file}' does not exist`);
      } else if (within.includes(found)) {
        const way = [...within.slice(within.indexOf(found)), found].map((one) => path.basename(one));
        this.problems.add(at, `the file includes itself: ${way.join(' includes ')}`);
      } else if (++this.#count > FILES_MAX) {
        if (this.#count === FILES_MAX + 1) this.problems.add(at, `more than ${FILES_MAX} files are included`);
      } else {
        this.#read(file, at, [...within, found]);
      }
    });
  }

  #read(file: string, at: Position, within: readonly string[]): void {
    const source = Source.read(file, this.problems, { at, version: '1.1' });
    if (source === undefined) return;
    const { value } = source;
    const known = Object.keys(RESOURCE_FILE);
    if (!isTree(value) || !known.some((key) => Object.hasOwn(value, key))) {
      this.problems.add(
        { file, line: 1, column: 1 },
        `expected ${RESOURCE_FILE_RULE}, found ${isTree(value) ? 'none of them' : shown(value)}`,
      );
      return;
    }
    for (const key of Object.keys(value)) {
      const meant = known.includes(key) ? '' : didYouMean(key, known);
      if (meant !== '') this.problems.notice(source.positionOf([key], 'key'), `the key '${key}' is not read${meant}`);
    }
    const include = this.#section(source, value, 'include') as Include;
    this.include(source, include, within);
    for (const kind of ['resources', 'scales'] as const) {
      put(this.includes.tool[kind], this.#section(source, value, `tool_${kind}`, 2) as Tree);
      const templates = this.#section(source, value, `task_template_${kind}`, 3) as Tree;
      for (const [template, clusters] of Object.entries(templates ?? {})) {
        if (!this.includes.templates.has(template)) this.includes.templates.set(template, nothing());
        put(this.includes.templates.get(template)![kind], clusters as Tree);
      }
    }
  }

  /** A section that is right, else nothing. Some files have the tool's name above the `depth` maps of what is read elsewhere. */
  #section(source: Source, file: Tree, key: keyof typeof RESOURCE_FILE, depth = Infinity): unknown {
    if (!Object.hasOwn(file, key)) return undefined;
    const section = file[key];
    const below = isTree(section) ? section[this.tool] : undefined;
    const isNamed = isTree(below) && depthOf(below) >= depth;
    const [value, base] = isNamed ? [below, [key, this.tool]] : [section, [key]];
    return check(RESOURCE_FILE[key], value, source, this.problems, base).length === 0 ? value : undefined;
  }
}

function put(kept: Map<string, object>, given: Tree | null | undefined): void {
  for (const [cluster, entries] of Object.entries(given ?? {})) {
    if (entries !== null) kept.set(cluster, { ...kept.get(cluster), ...(entries as object) });
  }
}

/** Levels of maps: 1 for a map of plain values. A file is at most a few dozen deep. */
function depthOf(tree: Tree): number {
  return 1 + Math.max(0, ...Object.values(tree).map((value) => (isTree(value) ? depthOf(value) : 0)));
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The file itself, whatever links lead to it; undefined when there is none. */
function real(file: string): string | undefined {
  try {
    return file === '-' ? file : realpathSync(file);
  } catch {
    return undefined;
  }
}
