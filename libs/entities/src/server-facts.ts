/** What a database server says of itself and of one account, for a person who looks: nothing is changed. */
import { JobmonError } from '@jobmon/contracts';
import { parseDatabaseUrl } from '@jobmon/runtime';
import { onConnection } from './mariadb';
import { explained } from './mariadb-error';

export interface ServerFacts {
  /** As the server says it: `10.11.6-MariaDB-0+deb12u1`. */
  readonly version: string;
  readonly isMariadb: boolean;
  /** The default of new tables; ours name their own. */
  readonly charset: string;
  readonly max_connections: number;
  /** Whether the server refuses writes (a replica, most often). */
  readonly isReadOnly: boolean;
  /** What the account may do with the tables of the database, as GRANT names it: `SELECT`, `CREATE VIEW`. */
  readonly rights: readonly string[];
}

/**
 * Looks at a server by the account of the address.
 *
 * @throws JobmonError UNAVAILABLE with cause and cure for a server, a database or an account that can't be used; MALFORMED for an
 * address of a file.
 */
export async function serverFacts(url: string): Promise<ServerFacts> {
  const address = parseDatabaseUrl(url);
  if (address.kind === 'sqlite') throw new JobmonError('MALFORMED', 'a SQLite file has no server');
  try {
    return await onConnection(address, async (select) => {
      const [facts] = await select(
        `SELECT VERSION() AS version, @@character_set_database AS charset, @@max_connections AS max_connections, @@read_only AS read_only`,
      );
      // Of the account itself only: one with rights on the server's own tables sees everybody's.
      const own = `GRANTEE = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')`;
      const rights = await select(
        `SELECT PRIVILEGE_TYPE AS name FROM information_schema.USER_PRIVILEGES WHERE ${own} UNION
         SELECT PRIVILEGE_TYPE AS name FROM information_schema.SCHEMA_PRIVILEGES WHERE ${own} AND DATABASE() LIKE TABLE_SCHEMA`,
      );
      return {
        version: String(facts!.version),
        isMariadb: String(facts!.version).includes('MariaDB'),
        charset: String(facts!.charset),
        max_connections: Number(facts!.max_connections),
        isReadOnly: Number(facts!.read_only) !== 0,
        rights: rights.map(({ name }) => String(name)),
      };
    });
  } catch (error) {
    throw explained(error, address);
  }
}
