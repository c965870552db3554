/**
 * MySQL 8 is supported by construction, without a server at hand to test on: no SQL of the house uses what only MariaDB
 * understands. Every string literal of the sources that reads like SQL is looked at.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';
import { getMetadataArgsStorage } from 'typeorm';
import { ENTITIES } from './entities';
import { TABLES } from './migrations/0001-schema';

const ROOT = join(__dirname, '../../..');

/** What MySQL 8 refuses, with the reason that a finding shows. */
const MARIADB_ONLY: readonly (readonly [RegExp, string])[] = [
  [/\bRETURNING\b/i, 'MySQL has no RETURNING'],
  [/\bSET STATEMENT\b/i, 'SET STATEMENT … FOR is of MariaDB'],
  [/\b(ADD|DROP|MODIFY|CHANGE) (COLUMN|INDEX|KEY|CONSTRAINT) IF (NOT )?EXISTS\b/i, 'MySQL has no IF EXISTS inside ALTER TABLE'],
  [/\b(CREATE|DROP) (UNIQUE )?INDEX IF (NOT )?EXISTS\b/i, 'MySQL has no IF EXISTS for indexes'],
  [/\bCREATE OR REPLACE (TABLE|INDEX|DATABASE)\b/i, 'MySQL replaces views only'],
  [/\b(CREATE SEQUENCE|NEXTVAL|NEXT VALUE FOR)\b/i, 'MySQL has no sequences'],
  [/\bFOR UPDATE (NO)?WAIT \d/i, 'MySQL has no WAIT n'],
  [/\bLIMIT ROWS EXAMINED\b|\bFETCH (FIRST|NEXT)\b/i, 'MySQL has LIMIT only'],
  [/\bJSON_(DETAILED|LOOSE|COMPACT|EXISTS|QUERY)\s*\(/i, 'a JSON function of MariaDB'],
  [/_nopad_|_uca1400_/i, 'a collation of MariaDB'],
  [/[^`\w]VALUE\s*\(/, 'VALUE(column) is of MariaDB; VALUES(column) is of both'],
  [
    /\bAS (rank|groups|system|window|lateral|empty|function|row|rows|over|of|recursive|cume_dist|ntile|lead|lag)\b/i,
    'reserved in MySQL 8',
  ],
  [
    /^\s*UPDATE `?(\w+)`?\s[\s\S]*\(\s*SELECT\b[^()]*\bFROM `?\1`?\b/i,
    'MySQL reads no table in a sub-query that it updates (1093)',
  ],
  [
    /^\s*DELETE FROM `?(\w+)`?\s[\s\S]*\(\s*SELECT\b[^()]*\bFROM `?\1`?\b/i,
    'MySQL reads no table in a sub-query that it deletes from (1093)',
  ],
];

const READS_LIKE_SQL =
  /\b(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|ALTER|DROP|SET|FROM|WHERE|VALUES|ON CONFLICT|ON DUPLICATE|RETURNING)\b/;

/** Literals of a source, the holes of a template shown as `?`. Parts joined by `+` are read as one text. */
function literals(path: string, text: string): string[] {
  const found: string[] = [];
  const textOf = (node: ts.Node): string | undefined => {
    if (ts.isStringLiteralLike(node)) return node.text;
    if (ts.isTemplateExpression(node)) return node.head.text + node.templateSpans.map((span) => `?${span.literal.text}`).join('');
    if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
      const [left, right] = [textOf(node.left), textOf(node.right)];
      return left === undefined && right === undefined ? undefined : `${left ?? '?'}${right ?? '?'}`;
    }
    return undefined;
  };
  const visit = (node: ts.Node): void => {
    const here = textOf(node);
    if (here !== undefined) found.push(here);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.ES2022));
  return found;
}

/** What only MariaDB would understand, in one source. */
function findings(path: string, text: string): string[] {
  return literals(path, text)
    .filter((literal) => READS_LIKE_SQL.test(literal))
    .flatMap((literal) =>
      MARIADB_ONLY.filter(([pattern]) => pattern.test(literal)).map(
        ([, reason]) => `${path}: ${reason}: ${literal.trim().slice(0, 80)}`,
      ),
    );
}

function sources(): string[] {
  return ['apps', 'libs'].flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.ts$/.test(entry.name) && !/\.(spec|conformance)\.ts$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => !path.includes('node_modules')),
  );
}

describe('SQL that MySQL 8 understands', () => {
  it('is all that the sources hold', () => {
    const paths = sources();
    expect(paths.length).toBeGreaterThan(40);
    expect(paths.flatMap((path) => findings(relative(ROOT, path), readFileSync(path, 'utf8')))).toEqual([]);
  });

  it.each([
    'await read(`INSERT INTO tool (name) VALUES (?) RETURNING id`)',
    "const sql = 'DELETE FROM agent WHERE id = ? ' + 'RETURNING id'",
    'query(`ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS x INT`)',
    "query('UPDATE task SET status = 1 WHERE id IN (SELECT id FROM task WHERE status = 2)')",
    "query('SELECT MAX(id) AS rank FROM task')",
    "query('SELECT id FROM task FOR UPDATE WAIT 3')",
  ])('would be found wrong: %s', (source) => {
    expect(findings('planted.ts', source).length).toBeGreaterThan(0);
  });

  it('has a prefix on every TEXT column of a key', () => {
    const wrong = TABLES.flatMap((table) =>
      table.indexes.flatMap((index) =>
        index.columns
          .filter((name) => ['text', 'json'].includes(table.columns.find((column) => column.name === name)!.type))
          .filter((name) => index.prefix?.[name] === undefined)
          .map((name) => `${table.name}.${name}`),
      ),
    );
    expect(wrong).toEqual([]);
    // The table API knows no prefixes, so no entity may declare such a key.
    const storage = getMetadataArgsStorage();
    const texts = storage.columns.filter((column) => ['text', 'json'].includes(String(column.options.type)));
    const declared = storage.indices
      .filter((index) => ENTITIES.some((entity) => entity === index.target) && Array.isArray(index.columns))
      .flatMap((index) => (index.columns as string[]).map((column) => ({ target: index.target, column })));
    expect(declared.length).toBeGreaterThan(20);
    expect(
      declared.filter((key) => texts.some((text) => text.target === key.target && text.propertyName === key.column)),
    ).toEqual([]);
  });

  it('keeps every key within the 3072 bytes of InnoDB', () => {
    const bytes = { int: 4, bigint: 8, smallint: 2, datetime: 5, json: Infinity, text: Infinity, varchar: 0 };
    const sizes = TABLES.flatMap((table) =>
      table.indexes.map((index) => ({
        name: index.name,
        bytes: index.columns.reduce((sum, name) => {
          const column = table.columns.find((candidate) => candidate.name === name)!;
          const characters = index.prefix?.[name] ?? column.length;
          return sum + (characters === undefined ? bytes[column.type] : characters * 4);
        }, 0),
      })),
    );
    expect(sizes.filter((size) => size.bytes > 3072)).toEqual([]);
  });
});
