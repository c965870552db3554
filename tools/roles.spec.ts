import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { accessOf, namesCaller, OPERATIONS, ownedBy } from '@jobmon/contracts';
import { describeConfig, loadConfig } from '@jobmon/runtime';
import type { z } from 'zod';
import { loginPage } from './roles';

const ROOT = join(__dirname, '..');
const PAGE = readFileSync(join(ROOT, 'docs/login.md'), 'utf8');
const NATIVE = OPERATIONS.filter(({ http }) => http?.path.startsWith('/api/v4/'));

describe('docs/login.md', () => {
  it('is what the contracts say; when this fails, run: npm run docs', () => {
    expect(PAGE).toBe(loginPage(ROOT));
    for (const { name } of NATIVE) expect(PAGE).toContain(`\`${name}\``);
  });

  it('names every setting of login', () => {
    const settings = Object.keys({
      issuer: '',
      audience: '',
      python_port: '',
      ...describeConfig(loadConfig({ env: {} }).config).auth,
    });
    expect(settings.length).toBeGreaterThan(12);
    expect(settings.filter((name) => !PAGE.includes(`\`auth.${name}\``))).toEqual([]);
  });
});

describe('the access of an operation', () => {
  it('lets nobody change anything without a role', () => {
    const open = NATIVE.filter((operation) => accessOf(operation) === 'anyone').map(({ name }) => name);
    expect(open).toEqual(['login.get']);
    const weak = NATIVE.filter((operation) => operation.http?.method !== 'GET' && accessOf(operation) === 'reader');
    // It reads what its body names.
    expect(weak.map(({ name }) => name)).toEqual(['task_template.usage']);
  });

  it('finds whose the workflow or the agent is in the path, wherever a changing request names one', () => {
    for (const operation of NATIVE.filter((one) => accessOf(one) === 'operator')) {
      const fields = Object.keys((operation.request as z.ZodObject).shape);
      const named = fields.includes('workflow_id') ? 'workflow' : fields.includes('agent_id') ? 'agent' : undefined;
      expect([operation.name, ownedBy(operation)]).toEqual([operation.name, named]);
    }
  });

  it('puts the caller in the place of every user that a changing request names', () => {
    const named = OPERATIONS.filter(({ http, request, owner }) => {
      return (
        http?.path.startsWith('/api/v4/') &&
        http.method !== 'GET' &&
        owner !== undefined &&
        'user' in (request as z.ZodObject).shape
      );
    });
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((operation) => !namesCaller(operation)).map(({ name }) => name)).toEqual([]);
  });
});
