/**
 * The YAML files in which sites keep what their tools and templates ask for, as the Python client reads them:
 *
 *     tool_resources: {<cluster>: {memory: 1G, …}}            task_template_resources: {<template>: {<cluster>: {…}}}
 *     tool_scales: {<cluster>: {memory: 0.5, …}}              task_template_scales: {<template>: {<cluster>: {…}}}
 *
 * Each of the four may be missing, and each may have the tool's name above what is shown here. Other keys are somebody else's.
 */
import { readFileSync } from 'node:fs';
import { JobmonError } from '@jobmon/contracts';
import { parseDocument } from 'yaml';
import { requestedResources, type ComputeResources } from './compute-resources';
import { keptScales, type ResourceScales } from './resource-scales';

const KEYS = ['tool_resources', 'tool_scales', 'task_template_resources', 'task_template_scales'] as const;
type Key = (typeof KEYS)[number];
/** Longest file that is read, in characters. */
const CHARACTERS_MAX = 4 * 1024 * 1024;

/** By cluster. */
export interface DefaultsByCluster {
  readonly computeResources: Readonly<Record<string, ComputeResources>>;
  readonly resourceScales: Readonly<Record<string, ResourceScales>>;
}

type Tree = { readonly [key: string]: unknown };

/** A file that was read and is well formed; its parts are looked at when they are asked for. */
export class ResourceFile {
  /** `text` is YAML; `name` stands in messages. Throws MALFORMED naming the file and, where it is known, line and column. */
  static parse(text: string, name: string): ResourceFile {
    if (text.length > CHARACTERS_MAX) throw malformed(name, `has more than ${CHARACTERS_MAX} characters`);
    // Python's readers speak YAML 1.1, in which 10:00:00 is a number; a key twice, a tab or too many aliases are errors.
    const document = parseDocument(text, { version: '1.1', uniqueKeys: true, prettyErrors: true });
    const [error] = document.errors;
    if (error !== undefined) {
      const at = error.linePos?.[0];
      throw malformed(name, `${error.message.split('\n')[0]}`, at);
    }
    let tree: unknown;
    try {
      tree = document.toJS({ maxAliasCount: 100 });
    } catch (cause) {
      throw malformed(name, (cause as Error).message);
    }
    if (!isTree(tree) || !KEYS.some((key) => Object.hasOwn(tree, key))) {
      throw malformed(name, `has none of the keys ${KEYS.join(', ')}`);
    }
    return new ResourceFile(name, tree);
  }

  private constructor(
    readonly name: string,
    private readonly tree: Tree,
  ) {}

  /** What the file says of a tool. Throws MALFORMED naming the place. */
  ofTool(toolName: string): DefaultsByCluster {
    return {
      computeResources: this.#clusters('tool_resources', [], toolName, checkedResources),
      resourceScales: this.#clusters('tool_scales', [], toolName, checkedScales),
    };
  }

  /** What the file says of a template of a tool; undefined when nothing. Throws MALFORMED naming the place. */
  ofTemplate(toolName: string, templateName: string): DefaultsByCluster | undefined {
    if (!this.templateNames(toolName).includes(templateName)) return undefined;
    return {
      computeResources: this.#clusters('task_template_resources', [templateName], toolName, checkedResources),
      resourceScales: this.#clusters('task_template_scales', [templateName], toolName, checkedScales),
    };
  }

  /** Templates that the file knows. */
  templateNames(toolName: string): string[] {
    const names = ['task_template_resources', 'task_template_scales'].flatMap((key) =>
      Object.keys(this.#section(key as Key, toolName, 3)),
    );
    return [...new Set(names)];
  }

  /** The section under `key`, without the tool's name above it. `depth`: levels of maps below the section when that name stands there. */
  #section(key: Key, toolName: string, depth: number): Tree {
    const section = this.tree[key];
    if (section === undefined || section === null) return {};
    if (!isTree(section)) throw malformed(this.name, `${key} must be a map`);
    const below = section[toolName];
    return isTree(below) && depthOf(below) >= depth ? below : section;
  }

  #clusters<Entries extends object>(
    key: Key,
    way: readonly string[],
    toolName: string,
    check: (entries: Tree) => Entries,
  ): Record<string, Entries> {
    let clusters: unknown = this.#section(key, toolName, 2 + way.length);
    for (const step of way) clusters = isTree(clusters) ? clusters[step] : undefined;
    if (clusters === undefined || clusters === null) return {};
    const place = [key, ...way];
    if (!isTree(clusters)) throw malformed(this.name, `${place.join('.')} must be a map of clusters`);
    const checked: Record<string, Entries> = {};
    for (const [cluster, entries] of Object.entries(clusters)) {
      const here = [...place, cluster].join('.');
      if (entries === null) continue;
      if (!isTree(entries)) throw malformed(this.name, `${here} must be a map of resources`);
      try {
        checked[cluster] = check(entries);
      } catch (error) {
        throw malformed(this.name, `${here}: ${(error as Error).message}`);
      }
    }
    return checked;
  }
}

/** Reads a file; see `ResourceFile`. Throws MALFORMED naming the file. */
export function readResourceFile(file: string): ResourceFile {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw malformed(file, `cannot be read (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`);
  }
  return ResourceFile.parse(text, file);
}

function checkedResources(entries: Tree): ComputeResources {
  requestedResources(entries);
  for (const [name, value] of Object.entries(entries)) if (isTree(value)) throw new TypeError(`${name} must not be a map`);
  return entries as ComputeResources;
}

function checkedScales(entries: Tree): ResourceScales {
  keptScales(entries as ResourceScales);
  return entries as ResourceScales;
}

/** Levels of maps: 1 for a map of plain values. */
function depthOf(tree: Tree): number {
  return 1 + Math.max(0, ...Object.values(tree).map((value) => (isTree(value) ? depthOf(value) : 0)));
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(name: string, what: string, at?: { line: number; col: number }): JobmonError {
  const place = at === undefined ? name : `${name}:${at.line}:${at.col}`;
  return new JobmonError('MALFORMED', `the resource file ${place}: ${what}`);
}
