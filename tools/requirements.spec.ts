/** docs/operating/requirements.md: every requirement has its row, and what a row names is there: files, tests by title, proofs, commands. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

const WANTED = [
  [1, 20],
  [40, 45],
  [59, 66],
  [68, 68],
].flatMap(([from, to]) => Array.from({ length: to! - from! + 1 }, (_, step) => `R${from! + step}`));

interface Row {
  readonly number: string;
  readonly answered: string;
  readonly shown: string;
}

const rows: Row[] = [...read('docs/operating/requirements.md').matchAll(/^\| (R\d+) +\|([^|]*)\|([^|]*)\|([^|]*)\|$/gm)].map(
  ([, number, , answered, shown]) => ({ number: number!, answered: answered!, shown: shown! }),
);
const cells = rows.map(({ answered, shown }) => `${answered} ${shown}`).join('\n');

/** What a spec file calls its tests. */
const titlesOf = (file: string): string[] =>
  [...read(file).matchAll(/\b(?:it|test|describe)\w*(?:\.\w+\([^\n]*?\)|\.each\([\s\S]*?\]\))?\(\s*(['"`])(.*?)(?<!\\)\1/g)].map(
    ([, , title]) => title!,
  );

/** The tests that a cell names: each spec file with the titles behind it. */
const named = rows.flatMap(({ number, shown }) =>
  [...shown.matchAll(/`([\w./-]+\.spec\.ts)`(?:: ((?:“[^”]*”(?:, )?)+))?/g)].map(
    ([, file, titles = '']) => [number, file!, [...titles.matchAll(/“([^”]*)”/g)].map(([, title]) => title!)] as const,
  ),
);

it('has each requirement once, in order', () => expect(rows.map(({ number }) => number)).toEqual(WANTED));

it('says of each what answers it and what shows it', () => {
  const silent = rows.filter(({ answered, shown }) => answered.trim() === '' || !/spec\.ts`|proofs? `|`npm run /.test(shown));
  expect(silent).toEqual([]);
});

it('names files that are there', () => {
  const files = [...cells.matchAll(/`((?:\.?[\w-]+\/)[\w./-]+|Jenkinsfile)`/g)].map(([, file]) => file!);
  const pages = [...cells.matchAll(/\]\(([\w./-]+)\)/g)].map(([, page]) => `docs/operating/${page}`);
  expect(files.length).toBeGreaterThan(30);
  // A folder that docker/compose makes is named by what it is for.
  const missing = [...files, ...pages].filter(
    (file) => file !== 'docker/work' && !file.startsWith('@') && !existsSync(join(ROOT, file)),
  );
  expect(missing).toEqual([]);
});

it('names tests by the titles that they have', () => {
  expect(named.length).toBeGreaterThan(30);
  const wrong = named.flatMap(([number, file, titles]) => {
    const there = titlesOf(file);
    return titles.filter((title) => !there.includes(title)).map((title) => `${number}: ${file} has no test “${title}”`);
  });
  expect(wrong).toEqual([]);
});

it('names proofs and commands that there are', () => {
  const proofs = readdirSync(join(ROOT, 'tools/cluster'))
    .filter((file) => file.endsWith('.mjs'))
    .flatMap((file) => [...read(`tools/cluster/${file}`).matchAll(/\{ name: '([\w-]+)', prove/g)].map(([, name]) => name!));
  const wanted = [...cells.matchAll(/proofs? ((?:`[\w-]+`(?:, )?)+)/g)].flatMap(([, list]) =>
    [...list!.matchAll(/`([\w-]+)`/g)].map(([, name]) => name!),
  );
  expect(wanted.length).toBeGreaterThan(10);
  expect(wanted.filter((name) => !proofs.includes(name))).toEqual([]);
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const called = [...cells.matchAll(/`npm (?:run )?([\w:]+)/g)].map(([, script]) => script!);
  expect(called.filter((script) => scripts[script] === undefined)).toEqual([]);
});
