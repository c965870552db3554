import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { racesOf, racesPage } from './races';

const ROOT = join(__dirname, '..');

describe('docs/races.md', () => {
  const page = racesPage(ROOT);

  it('is what the specs say; when this fails, run: npm run docs', () => {
    expect(readFileSync(join(ROOT, 'docs/races.md'), 'utf8')).toBe(page);
  });

  it('has a test or a reason for each of the 56', () => {
    expect(page.match(/^## \d+$/gm)).toEqual(Array.from({ length: 56 }, (_, at) => `## ${at + 1}`));
    const bare = page.split(/^## /m).filter((section) => section.includes('No test yet.'));
    expect(bare.map((section) => section.split('\n')[0])).toEqual([]);
  });
});

describe('racesOf', () => {
  it.each([
    ['E61 races 7, 17, 51: what nobody knows', [7, 17, 51]],
    ['stores what was sent (races 27 and 38)', [27, 38]],
    ['E33 race 19: makes one', [19]],
    ['traces 19 steps', []],
    ['race conditions', []],
  ])('reads %s', (title, numbers) => expect(racesOf(title)).toEqual(numbers));
});
