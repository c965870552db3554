/**
 * Fresh databases for tests. Each test file that talks to a database runs on SQLite and on MariaDB; each run has a
 * migrated, seeded database of its own, gone afterwards.
 *
 * MariaDB is found by `JOBMON_TEST_MARIADB_URL`, the address of a server whose user may create databases. Without it the tests
 * are skipped under a name that says so, and fail when `CI` is `true`: there a missing server is a defect.
 *
 * In a run of all tests the first database of a kind is migrated and the others are copies of it (`template.ts`).
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase, type Database, type SqlValue } from '@jobmon/entities';
import type { Logger } from '@jobmon/runtime';
import { pino } from 'pino';
import { fill, onServer } from './template';

/** Variable with the address of a MariaDB server, e.g. `mariadb://USER:PASSWORD@127.0.0.1:3306`. */
export const MARIADB_URL_VARIABLE = 'JOBMON_TEST_MARIADB_URL';

const SILENT: Logger = pino({ level: 'silent' });

/** A database of one test file. */
export interface TestDatabase extends Database {
  /** As `openDatabase` takes it: another process, or a second connection, opens the same database by it. */
  readonly url: string;
  /** One statement that writes, as a program other than the house would; answers the first id that it gave. */
  change(sql: string, ...params: SqlValue[]): Promise<number>;
  /** Closes it, unless that was done, and removes it. */
  drop(): Promise<void>;
}

/** One kind of database that tests run on. */
export interface DatabaseKind {
  readonly name: 'sqlite' | 'mariadb';
  /** An empty place: the URL of a file or database without tables, and how it is removed. */
  place(): Promise<{ url: string; remove: () => Promise<void> }>;
  /** A migrated and seeded database. */
  open(): Promise<TestDatabase>;
}

/** The kinds that can be had here: SQLite always, MariaDB when its server is named. */
export function databases(): DatabaseKind[] {
  return [kind('sqlite', sqlitePlace), ...(process.env[MARIADB_URL_VARIABLE] ? [kind('mariadb', mariadbPlace)] : [])];
}

/**
 * Declares the same tests for every kind of database. `define` is given what it needs to declare them; the function `database()`
 * answers the open database of the running file and is to be called inside tests only.
 */
export function describeOnDatabases(name: string, define: (database: () => TestDatabase, kind: DatabaseKind) => void): void {
  for (const found of databases()) {
    describe(`${name} (${found.name})`, () => {
      let open: TestDatabase | undefined;
      beforeAll(async () => {
        open = await found.open();
      }, 60_000);
      afterAll(async () => {
        await open?.drop();
      }, 60_000);
      define(() => {
        if (open === undefined) throw new Error('the database is open inside tests and their hooks only');
        return open;
      }, found);
    });
  }
  declareMissing(name);
}

/** Declares the tests for every kind without opening anything: for tests of opening itself. */
export function describeOnDatabaseKinds(name: string, define: (kind: DatabaseKind) => void): void {
  for (const found of databases()) describe(`${name} (${found.name})`, () => define(found));
  declareMissing(name);
}

function declareMissing(name: string): void {
  if (!process.env[MARIADB_URL_VARIABLE]) declareImpossible(`${name} (mariadb)`, `${MARIADB_URL_VARIABLE} names no server`);
}

/** Stands in the place of tests that can't run here: skipped with the reason; in CI a failure. */
export function declareImpossible(name: string, reason: string): void {
  if (process.env.CI !== 'true') return it.skip(`${name}: ${reason}`, () => undefined);
  it(name, () => {
    throw new Error(`${reason}, and in CI these tests must run`);
  });
}

function kind(name: DatabaseKind['name'], place: DatabaseKind['place']): DatabaseKind {
  return {
    name,
    place,
    open: async () => {
      const { url, remove } = await place();
      try {
        await fill(name, url, async () => (await openDatabase({ url, log: SILENT })).close());
        const database = await openDatabase({ url, log: SILENT });
        const drop = async (): Promise<void> => {
          await database.close();
          await remove();
        };
        const change = (sql: string, ...params: SqlValue[]): Promise<number> =>
          database.write({ label: 'test' }, function* () {
            return (yield { sql, params }).insert_id;
          });
        return Object.assign(database, { url, drop, change });
      } catch (error) {
        await remove();
        throw error;
      }
    },
  };
}

async function sqlitePlace(): Promise<{ url: string; remove: () => Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), 'jobmon-test-'));
  return { url: `sqlite:${join(folder, 'jobmon.sqlite')}`, remove: async () => rmSync(folder, { recursive: true, force: true }) };
}

async function mariadbPlace(): Promise<{ url: string; remove: () => Promise<void> }> {
  const server = process.env[MARIADB_URL_VARIABLE];
  if (!server) throw new Error(`${MARIADB_URL_VARIABLE} names no server`);
  const name = `jobmon_test_${randomBytes(6).toString('hex')}`;
  const run = (sql: string): Promise<void> => onServer(server, async (connection) => void (await connection.query(sql)));
  await run(`CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.toString(), remove: () => run(`DROP DATABASE IF EXISTS ${name}`) };
}
