import { z } from 'zod';
import { EVENTS, OPERATIONS } from './operations';
import { subjectOf, subjectOfEvent } from './operation';
import * as contracts from './index';

/** Values that occur more than once. */
function repeated(values: readonly string[]): string[] {
  return values.filter((value, at) => values.indexOf(value) !== at);
}

describe('the list of operations', () => {
  it('names every operation and every event that the contracts declare', () => {
    const declared = Object.values(contracts as Record<string, unknown>).filter(
      (value): value is { name: string } =>
        typeof value === 'object' && value !== null && 'name' in value && ('reply' in value || 'payload' in value),
    );
    const listed = new Set<unknown>([...OPERATIONS, ...EVENTS]);
    expect(declared.length).toBeGreaterThan(30);
    expect(declared.filter((value) => !listed.has(value)).map(({ name }) => name)).toEqual([]);
  });

  it('gives each its own name, subject and route', () => {
    expect(repeated(OPERATIONS.map(({ name }) => name))).toEqual([]);
    expect(repeated([...OPERATIONS.map(subjectOf), ...EVENTS.map(subjectOfEvent)])).toEqual([]);
    const routes = OPERATIONS.flatMap(({ http }) =>
      http === undefined ? [] : [`${http.method} ${http.path.replace(/\{\w+\}/g, '{}')}`],
    );
    expect(repeated(routes)).toEqual([]);
  });

  it.each(OPERATIONS.map((operation) => [operation.name, operation] as const))(
    '%s is spelt as the house spells',
    (_, operation) => {
      expect(operation.name).toMatch(/^[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*$/);
      expect(subjectOf(operation)).toMatch(/^jobmon\.v1\.[a-z-]+\.[a-z_]+\.[a-z_]+$/);
      expect(operation.summary).toMatch(/^[A-Z].*\.$/);
      if (operation.batch !== undefined) expect(operation.owner).not.toBe('api');
      if (operation.owner === 'api') expect(operation.http).toBeDefined();
    },
  );

  it.each(OPERATIONS.map((operation) => [operation.name, operation] as const))(
    '%s has schemas that can be documented',
    (_, operation) => {
      for (const [schema, io] of [
        [operation.request, 'input'],
        [operation.reply, 'output'],
      ] as const) {
        expect(z.toJSONSchema(schema, { io })).toMatchObject({ type: 'object' });
      }
    },
  );

  const overHttp = OPERATIONS.flatMap((operation) =>
    operation.http === undefined ? [] : [[operation.name, operation, operation.http] as const],
  );
  it.each(overHttp)('%s has a route whose parameters are fields of its request', (_, operation, http) => {
    expect(http.path).toMatch(/^\/api\/v[34]\/([a-z_]+|\{[a-z_]+\})?(\/([a-z_]+|\{[a-z_]+\}))*$/);
    const fields = Object.keys((operation.request as z.ZodObject).shape);
    for (const [, name] of http.path.matchAll(/\{(\w+)\}/g)) expect(fields).toContain(name);
    if (http.stream) expect(http.method).toBe('GET');
    if (http.method === 'GET') expect(http.body_bytes_max).toBeUndefined();
  });

  it('takes ids as numbers and as digits, and nothing else', () => {
    for (const good of [1, '1', 2_147_483_647, '2147483647']) expect(contracts.Id.parse(good)).toBe(Number(good));
    for (const bad of [0, -1, 1.5, 2_147_483_648, '2147483648', '', ' 1', '1e3', '0x1', true, null, [1], {}, Number.NaN]) {
      expect(contracts.Id.safeParse(bad).success).toBe(false);
    }
  });
});
