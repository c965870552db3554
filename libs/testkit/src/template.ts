/**
 * Databases that are copies of a migrated one. A run of all tests makes some hundred databases; migrating each takes several times as long
 * as copying the first. The templates live as long as the run, in the folder that `JOBMON_TEST_TEMPLATES` names, so they are never
 * those of another schema; without it every database is migrated.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as mysql from 'mysql2/promise';

/** Set by `tools/test.mjs`. */
const TEMPLATES_VARIABLE = 'JOBMON_TEST_TEMPLATES';

/** How a database becomes a file, and a file a database. */
interface Copier {
  save(url: string, file: string): Promise<void>;
  restore(url: string, file: string): Promise<void>;
}

/** Fills an empty database from the template of its kind; where there is none yet it migrates the database and makes it the template. */
export async function fill(kind: 'sqlite' | 'mariadb', url: string, migrate: () => Promise<void>): Promise<void> {
  const folder = process.env[TEMPLATES_VARIABLE];
  if (folder === undefined) return;
  const file = join(folder, kind);
  const copier = COPIERS[kind];
  if (existsSync(file)) return copier.restore(url, file);
  await migrate();
  mkdirSync(folder, { recursive: true });
  // Two workers may make it at one time: it appears under its name when it is whole, and both are the same.
  const part = `${file}.${process.pid}`;
  await copier.save(url, part);
  renameSync(part, file);
}

const sqliteFile = (url: string): string => url.slice('sqlite:'.length);

const COPIERS: Readonly<Record<'sqlite' | 'mariadb', Copier>> = {
  sqlite: {
    // Nobody has it open, so all of it is in the one file.
    save: async (url, file) => copyFileSync(sqliteFile(url), file),
    restore: async (url, file) => copyFileSync(file, sqliteFile(url)),
  },
  mariadb: {
    save: (url, file) => onServer(url, async (connection) => writeFileSync(file, await dump(connection))),
    restore: (url, file) => onServer(url, async (connection) => void (await connection.query(readFileSync(file, 'utf8')))),
  },
};

/** Runs `work` on a connection of its own that takes many statements in one text. */
export async function onServer<T>(url: string, work: (connection: mysql.Connection) => Promise<T>): Promise<T> {
  const uri = url.replace(/^mariadb:/, 'mysql:');
  const connection = await mysql.createConnection({ uri, multipleStatements: true, dateStrings: true, charset: 'utf8mb4_bin' });
  try {
    return await work(connection);
  } finally {
    await connection.end();
  }
}

/** Tables, rows and views as statements. */
async function dump(connection: mysql.Connection): Promise<string> {
  const [found] = await connection.query<mysql.RowDataPacket[]>('SHOW FULL TABLES');
  const namesOf = (kind: string): string[] =>
    found.filter((row) => row.Table_type === kind).map((row) => String(Object.values(row)[0]));
  const statements: string[] = [];
  for (const name of namesOf('BASE TABLE')) {
    const [[made]] = await connection.query<mysql.RowDataPacket[]>(`SHOW CREATE TABLE \`${name}\``);
    statements.push(String(made!['Create Table']));
    const [rows] = await connection.query<mysql.RowDataPacket[]>({ sql: `SELECT * FROM \`${name}\``, rowsAsArray: true });
    if (rows.length > 0) statements.push(connection.format(`INSERT INTO \`${name}\` VALUES ?`, [rows]));
  }
  for (const name of namesOf('VIEW')) {
    const [[made]] = await connection.query<mysql.RowDataPacket[]>(`SHOW CREATE VIEW \`${name}\``);
    // As whoever restores it, in whatever database.
    const [[{ here }]] = (await connection.query<mysql.RowDataPacket[]>('SELECT DATABASE() AS here')) as [
      [{ here: string }],
      unknown,
    ];
    statements.push(
      String(made!['Create View'])
        .replace(/ DEFINER=\S+/, '')
        .replaceAll(`\`${here}\`.`, ''),
    );
  }
  return statements.join(';\n');
}
