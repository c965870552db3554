/**
 * The entity-relationship diagram, drawn from the entities. The database declares no foreign keys (spec/data-model.md section 1),
 * so what points where is told by the names of columns: `<table>_id` points at a table, `status` at its lookup table.
 */
import { getMetadataArgsStorage, type ColumnOptions } from 'typeorm';
import { tableNameOf } from './columns';
import { ENTITIES, OWN_ENTITIES } from './entities';

interface Column {
  readonly name: string;
  readonly type: string;
  readonly isPrimary: boolean;
  readonly isUnique: boolean;
  readonly pointsAt: string | undefined;
}

/** `docs/erd.md`, whole. */
export function erdPage(): string {
  const tables = new Map(ENTITIES.map((entity) => [tableNameOf(entity), columnsOf(entity)]));
  const relations = [...tables].flatMap(([table, columns]) =>
    columns.flatMap((column) =>
      column.pointsAt === undefined ? [] : [`    ${column.pointsAt} ||--o{ ${table} : ${column.name}`],
    ),
  );
  const boxes = [...tables].map(([table, columns]) => {
    const lines = columns.map((column) => {
      const keys = [column.isPrimary && 'PK', column.isUnique && 'UK', column.pointsAt !== undefined && 'FK'].filter(Boolean);
      return `        ${`${column.type} ${column.name} ${keys.join(',')}`.trimEnd()}`;
    });
    return [`    ${table} {`, ...lines, '    }'].join('\n');
  });
  const own = OWN_ENTITIES.map((entity) => `\`${tableNameOf(entity)}\``).join(', ');
  return `# Entity-relationship diagram

Generated from the entities by \`npm run docs\`; a test fails when it is stale. FK marks what points at another table: the database
declares no foreign keys. Tables of ours: ${own}. What we add to the others, and every index: [schema.md](schema.md).

\`\`\`mermaid
erDiagram
${relations.join('\n')}

${boxes.join('\n')}
\`\`\`
`;
}

function columnsOf(entity: (typeof ENTITIES)[number]): Column[] {
  const storage = getMetadataArgsStorage();
  const uniques = storage.indices
    .filter((index) => index.target === entity && index.unique === true)
    .map((index) => index.columns);
  return storage.columns
    .filter((column) => column.target === entity)
    .map((column) => ({
      name: column.propertyName,
      type: typeText(column.options),
      isPrimary: column.options.primary === true,
      isUnique: uniques.some((columns) => Array.isArray(columns) && columns.length === 1 && columns[0] === column.propertyName),
      pointsAt: pointsAt(tableNameOf(entity), column.propertyName),
    }));
}

function typeText(options: ColumnOptions): string {
  return options.length === undefined ? String(options.type) : `${String(options.type)}(${options.length})`;
}

function pointsAt(table: string, column: string): string | undefined {
  const names = ENTITIES.map((entity) => tableNameOf(entity));
  if (column === 'status') return table === 'task_status_count' ? 'task_status' : `${table}_status`;
  if (column === 'from_status' || column === 'to_status') return 'task_instance_status';
  if (column === 'current_task_instance_id') return 'task_instance';
  return names.find((name) => column === `${name}_id`);
}
