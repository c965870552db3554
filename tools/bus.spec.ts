import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as contracts from '@jobmon/contracts';
import { BUS_SERVICES, RIGHTS } from '@jobmon/messaging';
import { busPage } from './bus';

const { EVENTS, OPERATIONS, subjectOf, subjectOfEvent } = contracts;

describe('docs/bus.md', () => {
  const page = busPage();

  it('is what the contracts say; when this fails, run: npm run docs', () => {
    const words = (text: string): string => text.replace(/[\s|-]+/g, ' ');
    expect(words(readFileSync(join(__dirname, '..', 'docs/bus.md'), 'utf8'))).toBe(words(page));
  });

  it('has a row for every operation that crosses the bus, with somebody who asks, and for every event with both ends', () => {
    for (const operation of OPERATIONS) {
      const isThere = page.includes(`| \`${subjectOf(operation)}\` |`);
      expect([operation.name, isThere]).toEqual([operation.name, operation.owner !== 'api']);
    }
    for (const event of EVENTS) {
      expect(page).toContain(`| \`${subjectOfEvent(event)}\` |`);
      const rights = Object.values(RIGHTS);
      expect([
        event.name,
        rights.some(({ tells }) => tells.includes(event)),
        rights.some(({ hears }) => hears.includes(event)),
      ]).toEqual([event.name, true, true]);
    }
  });

  it.each(BUS_SERVICES)('lets %s ask for every operation of others that its code names', (service) => {
    const code = sourcesOf(join(__dirname, '..', 'apps', service, 'src'));
    const named = Object.entries(contracts)
      .filter(([, value]) => (OPERATIONS as readonly unknown[]).includes(value))
      .filter(([name]) => new RegExp(`\\b${name}\\b`).test(code))
      .map(([name, operation]) => [name, operation as contracts.Operation] as const)
      .filter(([, { owner }]) => owner !== service && owner !== 'api');
    const asked = RIGHTS[service].asks;
    expect(named.filter(([, operation]) => !asked.includes(operation)).map(([name]) => name)).toEqual([]);
    // Nor more than that, but for what the api passes on.
    const names = new Set(named.map(([, operation]) => operation));
    const spare = asked.filter((operation) => !names.has(operation) && !(service === 'api' && operation.http !== undefined));
    expect(spare.map(({ name }) => name)).toEqual([]);
  });
});

/** The code of a service without its imports and its tests. */
function sourcesOf(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts'))
    .map((file) =>
      readFileSync(join(folder, file), 'utf8')
        .replace(/^import [^;]*;$/gm, '')
        .replace(/\/\*[^]*?\*\//g, ''),
    )
    .join('\n');
}
