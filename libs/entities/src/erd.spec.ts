import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENTITIES } from './entities';
import { erdPage } from './erd';

describe('docs/erd.md', () => {
  it('is what the entities say; when this fails, run: npm run docs', () => {
    expect(readFileSync(join(__dirname, '../../../docs/erd.md'), 'utf8')).toBe(erdPage());
  });

  it('shows every table, and what each column that names a table points at', () => {
    const page = erdPage();
    expect(page.match(/^ {4}\w+ \{$/gm)).toHaveLength(ENTITIES.length);
    for (const relation of [
      'workflow ||--o{ task : workflow_id',
      'task_status ||--o{ task : status',
      'array ||--o{ task_instance : array_id',
      'task_instance ||--o{ task_instance_history : task_instance_id',
      'agent ||--o{ task_instance : agent_id',
    ]) {
      expect(page).toContain(relation);
    }
  });
});
