import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EVENTS, OPERATIONS, subjectOf, subjectOfEvent } from '@jobmon/contracts';
import { RIGHTS } from '@jobmon/messaging';
import { busPage } from './bus';

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
});
