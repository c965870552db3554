/** The house's style as an ordinary test: what a reader would otherwise have to notice. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const ROOT = join(__dirname, '..');
const LINES_MAX = 500;

interface Source {
  readonly path: string;
  readonly text: string;
  readonly isSpec: boolean;
}

/** Files that git tracks or would track; outside a checkout there is nothing to check. */
function tracked(): string[] {
  return execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' })
    .split('\n')
    .filter((path) => path !== '' && existsSync(join(ROOT, path)));
}

const paths = tracked();
const sources: Source[] = paths
  .filter((path) => /^(apps|libs)\/.*\.ts$/.test(path))
  .map((path) => ({
    path,
    text: readFileSync(join(ROOT, path), 'utf8'),
    isSpec: /\.spec\.ts$|\.conformance\.ts$|\/test\/|^libs\/testkit\//.test(path),
  }));
const code = sources.filter((source) => !source.isSpec);

describe('the tree', () => {
  it('has sources to look at', () => expect(code.length).toBeGreaterThan(30));

  it(`has no source file over ${LINES_MAX} lines`, () => {
    expect(code.filter(({ text }) => text.split('\n').length > LINES_MAX).map(({ path }) => path)).toEqual([]);
  });

  it('names files by nouns, without kind suffixes or catch-all words', () => {
    const wrong = /(\.(service|controller|dto|interface|module|util)\.ts$)|(^(utils?|helpers?|common|shared|manager|base)\.ts$)/;
    expect(sources.filter(({ path }) => wrong.test(basename(path))).map(({ path }) => path)).toEqual([]);
  });

  it('says what each file is for', () => {
    const silent = code.filter(({ path, text }) => !/^(#!.*\n)?\/(\*\*|\/)/.test(text) && basename(path) !== 'main.ts');
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  it('leaves no reminders behind', () => {
    const reminder = new RegExp(['TO' + 'DO', 'FIX' + 'ME', 'not ' + 'implemented', 'X' + 'XX'].join('|'));
    expect(sources.filter(({ text }) => reminder.test(text)).map(({ path }) => path)).toEqual([]);
  });

  it('switches no test off and focuses on none', () => {
    const off = /\b(it|describe|test)\.only\(|\b(xit|xdescribe|fit|fdescribe)\(/;
    expect(sources.filter(({ text }) => off.test(text)).map(({ path }) => path)).toEqual([]);
  });

  it('writes a status column in the state machine only', () => {
    const writes = /\bUPDATE\s+(task|task_instance|workflow|workflow_run)\b[\s\S]{0,200}?\bstatus\s*=/i;
    const writers = code.filter(({ text }) => writes.test(text)).map(({ path }) => path);
    expect(writers.filter((path) => !path.startsWith('apps/state-machine/') && !path.includes('/migrations/'))).toEqual([]);
  });

  it('keeps contracts free of Node, so that a browser can read them', () => {
    const foreign = code.filter(({ path, text }) => path.startsWith('libs/contracts/') && /from '(node:|@jobmon)/.test(text));
    expect(foreign.map(({ path }) => path)).toEqual([]);
  });

  it('has no file that nobody imports', () => {
    const imported = new Set(
      sources.flatMap(({ path, text }) =>
        [...text.matchAll(/(?:from|import|require)\s*\(?\s*'(\.[^']*)'/g)].map((match) => join(dirname(path), match[1] ?? '')),
      ),
    );
    // Declarations of packages without types are read by the compiler, not imported.
    const entrance = /(^|\/)(index|main|module|house|[a-z-]+-worker)\.ts$|\.d\.ts$/;
    const orphans = code.filter(
      ({ path }) => !entrance.test(path) && !imported.has(path.replace(/\.ts$/, '')) && !path.includes('/migrations/'),
    );
    expect(orphans.map(({ path }) => path)).toEqual([]);
  });

  it('is what docs/architecture.md says it is: every file it names exists, with about as many lines as it tells', () => {
    const page = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8');
    const named = [...page.matchAll(/`((?:apps|libs|tools)\/[\w./-]+\.ts)`(?: \| +(\d+))?/g)];
    expect(named.length).toBeGreaterThan(20);
    const stale = named.filter(([, path = '', told]) => {
      if (!existsSync(join(ROOT, path))) return true;
      const lines = readFileSync(join(ROOT, path), 'utf8').split('\n').length - 1;
      return told !== undefined && Math.abs(lines - Number(told)) > 0.1 * lines;
    });
    expect(stale.map(([row]) => row)).toEqual([]);
  });

  it('records no path of a machine and no registry address', () => {
    const texts = paths
      .filter((path) => !/\.(png|svg|ico|gif)$/.test(path))
      .map((path) => [path, readFileSync(join(ROOT, path), 'utf8')] as const);
    const local = new RegExp('(^|[^A-Za-z0-9_.])/(wo' + 'rk|fa' + 'rm|ro' + 'ot)/', 'm');
    expect(texts.filter(([, text]) => local.test(text)).map(([path]) => path)).toEqual([]);
    expect(texts.filter(([path, text]) => path.endsWith('package-lock.json') && /"resolved": *"https?:/.test(text))).toEqual([]);
  });
});
