/**
 * The page of the Python protocol's operations, each with its tests. A test belongs to the operations whose numbers its title, or the
 * title of what it stands in, begins with: `E9 E10: ...`, `E2 to E5 ...`. Titles are read from the sources; nothing is run.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { PYTHON_OPERATIONS, type Operation } from '@jobmon/contracts';
import * as ts from 'typescript';

/** Folders with specs. */
const FOLDERS = ['apps', 'libs', 'tools'];
/** Operations that have a second number in the list of what people ask with. */
const ALIASES: Readonly<Record<string, string>> = { C7: 'L2', C8: 'L1', C15: 'L3' };
/** The order of the page. */
const KINDS = ['S', 'E', 'L', 'C', 'P'];

export interface Test {
  readonly file: string;
  readonly title: string;
  /** Of the operations that it is about; empty when its title says none. */
  readonly numbers: readonly string[];
}

/** `docs/operations.md`, whole. */
export function operationsPage(root: string): string {
  const operations = PYTHON_OPERATIONS.filter(({ http }) => http !== undefined).sort((one, other) => place(one) - place(other));
  const tests = specsIn(root).flatMap((file) => testsIn(readFileSync(join(root, file), 'utf8'), file));
  const numbers = new Set(operations.map(({ protocol }) => protocol));
  const sections = [...numbers].map((number) => {
    const own = tests.filter((test) => test.numbers.includes(number as string));
    const lines = own.map(({ file, title }) => `- ${inline(title)} ([${file.replace(/^.*\//, '')}](../${file}))`);
    const heads = operations.filter(({ protocol }) => protocol === number).map((operation) => `\`${routeOf(operation)}\``);
    return `### ${number}\n\n${heads.join(', ')}\n\n${lines.length > 0 ? lines.join('\n') : 'No test of its own.'}\n`;
  });
  return `# Operations of the Python protocol

Generated from the contracts and the specs by \`npm run docs\`; a test fails when it is stale. ${numbers.size} numbers, ${operations.length} routes: S
shared, E what a run needs, L what both halves need, C what people ask with afterwards, P the reaper's. C7, C8 and C15 are L2, L1 and L3.
The same routes stand under \`/api/v2\`, but for L3.

Beside the tests that are named below, every operation goes through the table of bad input
([bad-input.db.spec.ts](../apps/api/src/v3/bad-input.db.spec.ts)), and 640 recorded requests are played again
([replay.db.spec.ts](../apps/api/src/v3/replay.db.spec.ts)).

| number | method | path | owner | name | tests |
| --- | --- | --- | --- | --- | --: |
${operations.map((operation) => rowOf(operation, tests)).join('\n')}

## Tests by number

${sections.join('\n')}`;
}

function rowOf({ protocol = '', http, owner, name }: Operation, tests: readonly Test[]): string {
  const count = tests.filter(({ numbers }) => numbers.includes(protocol)).length;
  const cells = [`[${protocol}](#${protocol.toLowerCase()})`, http?.method, `\`${http?.path}\``, owner, `\`${name}\``, count];
  return `| ${cells.join(' | ')} |`;
}

function routeOf({ http }: Operation): string {
  return `${http?.method} ${http?.path}`;
}

/** Where an operation stands: by kind, then by number. */
function place({ protocol = '' }: Operation): number {
  return KINDS.indexOf(protocol.charAt(0)) * 1_000 + Number(protocol.slice(1));
}

/** What Markdown or a reader of HTML would take for something else is made harmless. */
export function inline(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[<>|*_`[\]]/g, (sign) => `\\${sign}`);
}

/** Every spec of the checkout, by its path from there. */
export function specsIn(root: string): string[] {
  const files = FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.spec.ts'))
      .map((entry) => relative(root, join(entry.parentPath, entry.name))),
  );
  return files.filter((file) => !file.includes('node_modules')).sort();
}

/** The tests that a spec declares, in its order. */
export function testsIn(text: string, file: string): Test[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const tests: Test[] = [];
  const visit = (node: ts.Node, around: readonly string[]): void => {
    const title = ts.isCallExpression(node) ? titleOf(node) : undefined;
    const declared = ts.isCallExpression(node) && title !== undefined ? declaredBy(node.expression) : undefined;
    if (declared === 'test') {
      const own = numbersOf(title as string);
      tests.push({ file, title: title as string, numbers: own.length > 0 ? own : around });
      return;
    }
    const inside = declared === 'group' && numbersOf(title as string).length > 0 ? numbersOf(title as string) : around;
    ts.forEachChild(node, (child) => visit(child, inside));
  };
  visit(source, []);
  return tests;
}

/** What a call declares, by the name that it begins with: `it(...)`, `it.each(...)(...)`, `describeOnDatabases(...)`. */
function declaredBy(callee: ts.Expression): 'test' | 'group' | undefined {
  let root = callee;
  while (ts.isCallExpression(root) || ts.isPropertyAccessExpression(root) || ts.isTaggedTemplateExpression(root)) {
    root = ts.isTaggedTemplateExpression(root) ? root.tag : root.expression;
  }
  if (!ts.isIdentifier(root)) return undefined;
  if (root.text === 'it' || root.text === 'test') return 'test';
  return root.text.startsWith('describe') ? 'group' : undefined;
}

/** The first argument of a call as it is written, when it is text; `${...}` stays. */
function titleOf({ arguments: [first] }: ts.CallExpression): string | undefined {
  if (first === undefined) return undefined;
  if (ts.isStringLiteralLike(first)) return first.text;
  return ts.isTemplateExpression(first) ? first.getText().slice(1, -1) : undefined;
}

/** The numbers that a title begins with. */
export function numbersOf(title: string): string[] {
  const found: string[] = [];
  let rest = title;
  for (;;) {
    const [all, range, kind, number] = /^(?:and |(to |-))?([SELCP])(\d{1,2})\b(?:[,:] ?| |$)?/.exec(rest) ?? [];
    if (all === undefined) return [...new Set(found.map((one) => ALIASES[one] ?? one))];
    const last = found.at(-1);
    if (range !== undefined && last !== undefined) {
      for (let between = Number(last.slice(1)) + 1; between < Number(number); between++) found.push(`${kind}${between}`);
    }
    found.push(`${kind}${number}`);
    rest = rest.slice(all.length);
  }
}
