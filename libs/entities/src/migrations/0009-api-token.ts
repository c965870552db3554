/** The ninth migration: API tokens, and whose a workflow is. Each step looks first: run again after a cut it changes nothing. */
import { Table, type MigrationInterface, type QueryRunner } from 'typeorm';
import { columnSql, isSqlite } from './shape';

const OWNER = { name: 'user', type: 'varchar', length: 150, nullable: true } as const;

export class ApiToken1763900000009 implements MigrationInterface {
  readonly name = 'ApiToken1763900000009';

  async up(runner: QueryRunner): Promise<void> {
    const sqlite = isSqlite(runner);
    const text = sqlite ? {} : { charset: 'utf8mb4', collation: 'utf8mb4_bin' };
    const lengths = { hash: 64, name: 150, user: 150, role: 16, created_by: 150, revoked_by: 150 };
    const varchar = (name: keyof typeof lengths, isNullable = false) => {
      return { name, type: 'varchar', length: String(lengths[name]), isNullable, ...text };
    };
    await runner.createTable(
      new Table({
        name: 'api_token',
        columns: [
          {
            name: 'id',
            type: sqlite ? 'integer' : 'bigint',
            isPrimary: true,
            isGenerated: true,
            generationStrategy: 'increment',
          },
          varchar('hash'),
          varchar('name'),
          varchar('user'),
          varchar('role'),
          { name: 'created_date', type: 'datetime' },
          varchar('created_by'),
          { name: 'expires_date', type: 'datetime' },
          { name: 'last_used_date', type: 'datetime', isNullable: true },
          { name: 'revoked_date', type: 'datetime', isNullable: true },
          varchar('revoked_by', true),
        ],
        indices: [
          { name: 'uc_api_token_hash', columnNames: ['hash'], isUnique: true },
          { name: 'ix_api_token_user', columnNames: ['user'] },
        ],
        checks: sqlite
          ? Object.entries(lengths).map(([name, length]) => ({
              name: `ck_api_token_${name}_length`,
              expression: `length("${name}") <= ${length}`,
            }))
          : [],
        ...(sqlite ? {} : { engine: 'InnoDB' }),
      }),
      true,
    );
    const workflow = await runner.getTable('workflow');
    if (workflow?.findColumnByName(OWNER.name) !== undefined) return;
    const instant = sqlite ? '' : ', ALGORITHM=INSTANT';
    await runner.query(`ALTER TABLE workflow ADD COLUMN ${columnSql(runner, 'workflow', OWNER)}${instant}`);
  }

  async down(): Promise<void> {
    throw new Error('migrations only go forward; a backup file stands beside a SQLite database');
  }
}
