/** The part of docs/login.md that says which role each operation needs: from the contracts, so that neither can say something else than the other. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { accessOf, namesCaller, OPERATIONS, ownedBy, type Operation } from '@jobmon/contracts';

const BEGIN = '<!-- roles: generated from the contracts by `npm run docs` -->\n';
const END = '<!-- end of roles -->\n';

/** `docs/login.md`, whole: what a person wrote, and the roles as they are. */
export function loginPage(root: string): string {
  const page = readFileSync(join(root, 'docs/login.md'), 'utf8');
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/login.md must hold the lines ${BEGIN} and ${END}`);
  return `${page.slice(0, begin + BEGIN.length)}\n${rolesText()}\n${page.slice(end)}`;
}

function rolesText(): string {
  const open = OPERATIONS.filter(({ http }) => http !== undefined);
  const of = (access: string) => open.filter((operation) => accessOf(operation) === access);
  const operator = of('operator');
  const rows: [string, readonly Operation[]][] = [
    ['**anyone**, without a credential', of('anyone')],
    ['**reader**', of('reader')],
    ['**operator**, of his own workflow', operator.filter((operation) => ownedBy(operation) === 'workflow')],
    ['**operator**, of his own agent', operator.filter((operation) => ownedBy(operation) === 'agent')],
    ['**operator**', operator.filter((operation) => ownedBy(operation) === undefined)],
    ['**admin**', of('admin')],
    ['recorded in the name of the caller, whatever the request says', open.filter(namesCaller)],
  ];
  const lines = rows
    .filter(([, operations]) => operations.length > 0)
    .map(([who, operations]) => `- ${who}: ${namesOf(operations)}`);
  return `${lines.join('\n')}\n- by trusted network, without a credential: the ${of('network').length} routes of \`/api/v3\`\n`;
}

function namesOf(operations: readonly Operation[]): string {
  return operations.map(({ name }) => `\`${name}\``).join(', ');
}
