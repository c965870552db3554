/**
 * Migrations only expand: the release before works on while a newer one's migrations run, and after them. Held against what each of them really
 * sends to an empty database, on both kinds. What takes something away is listed here, with the reason why nobody misses it.
 */
import { describeOnDatabaseKinds, type DatabaseKind } from '@jobmon/testkit';
import { parseDatabaseUrl } from '@jobmon/runtime';
import * as mysql from 'mysql2';
import SqliteHandle from 'better-sqlite3';
import { DataSource, MigrationExecutor, type Logger } from 'typeorm';
import { MIGRATIONS } from '../schema';
import { prepareDriver } from '../sqlite';

interface Sent {
  readonly migration: string;
  readonly sql: string;
}

/** Something that goes. Either another index that begins with the same columns does its work, or no release reads it any more. */
type Contraction =
  | { readonly migration: string; readonly drops_index: string; readonly in_favour_of: string }
  | { readonly migration: string; readonly statement: string; readonly last_read_by_release: string };

const CONTRACTIONS: readonly Contraction[] = [
  {
    migration: 'TaskInstanceKind1763900000013',
    drops_index: 'ix_task_instance_workflow_run_id_status_array_id',
    in_favour_of: 'ix_task_instance_run_status_array_resources',
  },
];

const QUOTE = '["`]?';
const plain = (sql: string): string => sql.replace(/\s+/g, ' ').trim();
const nameAfter = (head: string, sql: string): string | undefined =>
  new RegExp(`^${head} ${QUOTE}(\\w+)${QUOTE}`, 'i').exec(sql)?.[1];
/** Of an index, as it was made by itself or with its table. */
function columnsOf(index: string, sent: readonly Sent[]): string[] {
  const made = new RegExp(`INDEX ${QUOTE}${index}${QUOTE}(?: ON \\S+)? \\(([^)]*)\\)`);
  const list = sent.map(({ sql }) => made.exec(plain(sql))?.[1]).find((found) => found !== undefined) ?? '';
  return list.split(',').map((name) => name.replace(/["`\s]/g, ''));
}

/** Each statement that a release of before might not survive, as a sentence. */
function contractionsIn(sent: readonly Sent[], allowed: readonly Contraction[]): string[] {
  return sent.flatMap(({ migration, sql: written }) => {
    const sql = plain(written);
    const own = sent.filter((one) => one.migration === migration).map((one) => plain(one.sql));
    const isNew = (table: string | undefined): boolean =>
      table !== undefined && own.some((one) => nameAfter('CREATE TABLE(?: IF NOT EXISTS)?', one) === table);
    const answer = (why: string): string[] => [`${migration}: ${why}: ${sql.slice(0, 120)}`];

    if (/^CREATE (TABLE|INDEX|VIEW|SQL SECURITY INVOKER VIEW) /i.test(sql)) return [];
    const unique = /^CREATE UNIQUE INDEX \S+ ON ["`]?(\w+)/i.exec(sql);
    if (unique !== null) return isNew(unique[1]) ? [] : answer('a release of before may write twins');
    const column = /^ALTER TABLE \S+ ADD (?:COLUMN )?(.*)$/i.exec(sql)?.[1];
    if (column !== undefined) {
      return /\bNOT NULL\b/i.test(column) && !/\bDEFAULT\b/i.test(column) ? answer('a release of before does not fill it') : [];
    }
    const filled = nameAfter('INSERT(?: OR)?(?: IGNORE)? INTO', sql);
    if (filled !== undefined) return isNew(filled) ? [] : answer('rows in a table that a release of before knows');
    const dropped = nameAfter('DROP INDEX', sql);
    const entry = allowed.find((one) =>
      one.migration !== migration ? false : 'statement' in one ? one.statement === sql : one.drops_index === dropped,
    );
    if (entry === undefined) return answer('it is not known to be harmless');
    if ('statement' in entry) return [];
    const [former, heir] = [columnsOf(entry.drops_index, sent), columnsOf(entry.in_favour_of, sent)];
    const isHeir = former[0] !== '' && former.every((name, at) => heir[at] === name);
    return isHeir ? [] : answer(`${entry.in_favour_of} does not begin with its columns`);
  });
}

/** Runs the whole chain in an empty place and answers every statement that changes something. */
async function chainOn(kind: DatabaseKind): Promise<Sent[]> {
  const place = await kind.place();
  const address = parseDatabaseUrl(place.url);
  const sent: Sent[] = [];
  let migration = '';
  const nothing = (): void => undefined;
  const logger: Logger = {
    logQuery: (sql) => {
      const isOfExecutor = /^(START TRANSACTION|COMMIT$)|^(CREATE TABLE|INSERT INTO) \S*\bmigrations\b/i.test(plain(sql));
      const isRead = /^\s*(SELECT|SHOW|PRAGMA)\b/i.test(sql);
      if (migration !== '' && !isRead && !isOfExecutor) sent.push({ migration, sql });
    },
    logQueryError: nothing,
    logQuerySlow: nothing,
    logSchemaBuild: nothing,
    logMigration: nothing,
    log: nothing,
  };
  const rest = { migrations: [...MIGRATIONS], logger, logging: ['query' as const] };
  const dataSource =
    address.kind === 'sqlite'
      ? new DataSource({ type: 'better-sqlite3', driver: SqliteHandle, database: address.file, ...rest })
      : new DataSource({
          type: 'mariadb',
          driver: mysql,
          host: address.host,
          port: address.port,
          username: address.user,
          password: address.password,
          database: address.database,
          poolSize: 1,
          ...rest,
        });
  if (address.kind === 'sqlite') prepareDriver(dataSource);
  try {
    await dataSource.initialize();
    const executor = new MigrationExecutor(dataSource);
    for (const one of await executor.getPendingMigrations()) {
      migration = one.name;
      await executor.executeMigration(one);
    }
    return sent;
  } finally {
    await dataSource.destroy();
    await place.remove();
  }
}

describeOnDatabaseKinds('the migrations', (kind) => {
  it('only expand: the release before lives on what each of them leaves, but for what is listed with its reason', async () => {
    const sent = await chainOn(kind);
    expect(new Set(sent.map(({ migration }) => migration)).size).toBeGreaterThan(8);
    expect(contractionsIn(sent, CONTRACTIONS)).toEqual([]);
    // Without the list the index that goes is found: the rule can fail.
    expect(contractionsIn(sent, [])).toEqual([expect.stringMatching(/^TaskInstanceKind.*DROP INDEX/)]);
  });
});

it.each([
  ['DROP TABLE `task`', 'it is not known to be harmless'],
  ['ALTER TABLE `task` DROP COLUMN `name`', 'it is not known to be harmless'],
  ['ALTER TABLE task MODIFY COLUMN name VARCHAR(10) NOT NULL', 'it is not known to be harmless'],
  ['ALTER TABLE task RENAME COLUMN name TO title', 'it is not known to be harmless'],
  ['ALTER TABLE task ADD COLUMN title VARCHAR(10) NOT NULL', 'a release of before does not fill it'],
  ['CREATE OR REPLACE SQL SECURITY INVOKER VIEW `v_task` AS SELECT id FROM task', 'it is not known to be harmless'],
  ['DROP VIEW `v_task`', 'it is not known to be harmless'],
  ['CREATE UNIQUE INDEX `uc` ON `task` (`name`)', 'a release of before may write twins'],
  [`INSERT INTO task_status (id) VALUES ('Z')`, 'rows in a table that a release of before knows'],
  [`UPDATE task SET name = ''`, 'it is not known to be harmless'],
])('a planted %s is found', (sql, why) => {
  expect(contractionsIn([{ migration: 'Planted', sql }], CONTRACTIONS)).toEqual([`Planted: ${why}: ${sql}`]);
});

it.each([
  'CREATE TABLE `more` (`id` int NOT NULL)',
  'CREATE INDEX `ix` ON `task` (`name`)',
  'CREATE SQL SECURITY INVOKER VIEW `v_task` AS SELECT id FROM task',
  'ALTER TABLE task ADD COLUMN title VARCHAR(10) NULL',
  'ALTER TABLE task ADD COLUMN number int NOT NULL DEFAULT 0, ALGORITHM=INSTANT',
])('a planted %s is allowed', (sql) => {
  expect(contractionsIn([{ migration: 'Planted', sql }], CONTRACTIONS)).toEqual([]);
});

it('an index that goes in favour of one that does not begin with its columns is found', () => {
  const sent = [
    'CREATE INDEX `ix_former` ON `task` (`workflow_id`, `status`)',
    'CREATE INDEX `ix_heir` ON `task` (`status`, `workflow_id`)',
    'DROP INDEX `ix_former` ON `task`',
  ].map((sql) => ({ migration: 'Planted', sql }));
  const entry = { migration: 'Planted', drops_index: 'ix_former', in_favour_of: 'ix_heir' };
  expect(contractionsIn(sent, [entry])).toEqual([expect.stringContaining('does not begin with its columns')]);
});
