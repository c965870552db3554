/**
 * The commands in docs/operating: each sub-command and each flag that a page shows is one that its program has, charts and scripts are there, and
 * what is set is taken by the chart. That they do what the pages say is shown by the proofs on a cluster.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Ajv from 'ajv';
import type { Command } from 'commander';
import { program as adminProgram } from '../apps/admin/src/program';
import { program as cliProgram } from '../apps/cli/src/program';
import { EXTERNAL, kubernetesProgram, objectsOf, renderText } from './chart';

const ROOT = join(__dirname, '..');
const PAGES = join(ROOT, 'docs', 'operating');
const pages = readdirSync(PAGES).filter((file) => file.endsWith('.md'));

interface Shown {
  readonly page: string;
  /** Without the program, and without an ellipsis that stands alone. */
  readonly words: readonly string[];
}

/** A line of a shell in words; what stands in quotes is one. A comment ends it. */
function wordsOf(line: string): string[] {
  const words = [...line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)].map(([word]) => word);
  const comment = words.findIndex((word) => word.startsWith('#'));
  return (comment === -1 ? words : words.slice(0, comment))
    .map((word) => word.replaceAll(/['"]/g, ''))
    .filter((word) => word !== '…');
}

/** What a page shows to be typed: the lines of its shell blocks, and code in its sentences. */
function linesOf(text: string): string[] {
  const blocks = [...text.matchAll(/^ *```sh\n([^]*?)^ *```/gm)].map(([, block]) => block!);
  const typed = blocks.flatMap((block) =>
    block
      .replaceAll(/<<'?(\w+)'?\n[^]*?\n *\1$/gm, '')
      .replaceAll(/\\\n\s*/g, ' ')
      .split(/\n|&&|;|\|/),
  );
  const prose = text.replaceAll(/^ *```[^]*?^ *```/gm, '');
  return [...typed, ...[...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!)];
}

/** Calls of a program that have more than its name. */
function callsOf(name: string): Shown[] {
  return pages.flatMap((page) =>
    linesOf(readFileSync(join(PAGES, page), 'utf8'))
      .map((line) => wordsOf(line))
      .filter(([first, ...words]) => first === name && words.length > 0)
      .map(([, ...words]) => ({ page, words })),
  );
}

const isFlag = (word: string): boolean => word.startsWith('-') && word !== '--';
const flagsOf = (words: readonly string[]): string[] => words.filter(isFlag).map((word) => word.split('=')[0]!);

/** The words without flags, as far as `-n` and `--context` stand before the command. */
function afterGlobal(words: readonly string[]): readonly string[] {
  return ['-n', '--namespace', '--context'].includes(words[0] ?? '') ? afterGlobal(words.slice(2)) : words;
}

const helps = new Map<string, string>();
/** What `helm` or `kubectl` says of a command; all of its flags stand there. */
function helpOf(name: 'helm' | 'kubectl', args: readonly string[]): string {
  const key = [name, ...args].join(' ');
  if (!helps.has(key)) {
    const done = spawnSync(kubernetesProgram(ROOT, name), [...args], {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, HOME: '/nonexistent' },
    });
    helps.set(key, `${done.stdout}${done.stderr}`);
  }
  return helps.get(key)!;
}

const has = (help: string, flag: string): boolean => new RegExp(`(^|[\\s,])${flag}([\\s,=]|$)`, 'm').test(help);

/** What is wrong with a call of helm or kubectl: a command that it has not, or a flag. */
function wrongOf(name: 'helm' | 'kubectl', { page, words }: Shown): string[] {
  // What a pod runs is no matter of the program that starts it.
  const given = words.includes('--') ? words.slice(0, words.indexOf('--')) : words;
  const own = afterGlobal(given);
  const length = own[0] === 'rollout' ? 2 : own[0] === 'create' ? (own[1] === 'secret' ? 3 : 2) : 1;
  const command = own.slice(0, length);
  const help = helpOf(name, [...command, '--help']);
  const call = `${page}: ${name} ${words.join(' ')}`;
  if (!new RegExp(`${name} ${command.join(' ')}(\\s|$)`, 'm').test(help)) return [`${call}: no such command`];
  const global = name === 'kubectl' ? helpOf(name, ['options']) : '';
  return flagsOf(given)
    .filter((flag) => !has(help, flag) && !has(global, flag))
    .map((flag) => `${call}: no flag ${flag}`);
}

describe('the commands of docs/operating', () => {
  it.each(['helm', 'kubectl'] as const)('%s has each of them, with its flags', (name) => {
    const calls = callsOf(name);
    expect(calls.length).toBeGreaterThan(5);
    expect(calls.flatMap((call) => wrongOf(name, call))).toEqual([]);
  });

  it('are of charts that are there, and what they set is taken', () => {
    const calls = callsOf('helm').filter(({ words }) => words.some((word) => word.startsWith('helm/')));
    expect(calls.length).toBeGreaterThan(3);
    const trial = {
      image: { registry: 'registry.example.org' },
      database: { builtIn: { enabled: true } },
      nats: { builtIn: { enabled: true } },
    };
    const seen = new Set<string>();
    for (const { words } of calls) {
      const chart = words.find((word) => word.startsWith('helm/'))!;
      const set = words.flatMap((word, at) => (word === '--set' ? ['--set', words[at + 1]!] : []));
      const key = [chart, ...set].join(' ');
      if (seen.has(key)) continue;
      seen.add(key);
      const values = chart === 'helm/jobmon' ? trial : {};
      const done = spawnSync(kubernetesProgram(ROOT, 'helm'), ['template', 'jobmon', chart, '--values', '-', ...set], {
        cwd: ROOT,
        encoding: 'utf8',
        input: JSON.stringify(values),
        env: { PATH: process.env.PATH, HOME: '/nonexistent' },
      });
      expect([key, done.status, done.stderr]).toEqual([key, 0, '']);
    }
  });

  it.each([
    ['jobmon-server', adminProgram],
    ['jobmon', cliProgram],
  ])('%s has each of them, with its options', (name, program) => {
    const calls = callsOf(name);
    expect(calls.length).toBeGreaterThan(3);
    const wrong = calls.flatMap(({ page, words }) => {
      const call = `${page}: ${name} ${words.join(' ')}`;
      let command: Command = program();
      const found: string[] = [];
      for (let at = 0; at < words.length; at += 1) {
        const word = words[at]!;
        const below = command.commands.find((one) => one.name() === word);
        if (isFlag(word)) {
          const [flag] = word.split('=');
          const option = command.options.find(({ short, long }) => short === flag || long === flag);
          if (option === undefined && !['-h', '--help', '--version'].includes(flag!)) found.push(`${call}: no option ${flag}`);
          if (option?.required === true && !word.includes('=')) at += 1;
        } else if (below !== undefined) command = below;
        else if (command.registeredArguments.length === 0) found.push(`${call}: ${command.name()} knows no ${word}`);
      }
      return found;
    });
    expect(wrong).toEqual([]);
  });

  it('are scripts of package.json that know what they are given', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
    const calls = callsOf('npm').filter(({ words }) => words[0] === 'run');
    expect(calls.length).toBeGreaterThan(5);
    for (const { page, words } of calls) {
      const [name = '', ...given] = words.slice(1).filter((word) => word !== '--silent' && word !== '--');
      const file = /^(?:node|nodemon .*?) (tools\/\S+)/.exec(scripts[name] ?? '')?.[1] ?? '';
      expect([page, name, existsSync(join(ROOT, file || 'none'))]).toEqual([page, name, true]);
      // A benchmark's own words stand with the benchmark.
      const bench = name === 'bench' ? given.shift() : undefined;
      const source = readFileSync(join(ROOT, bench === undefined ? file : `bench/${bench}/main.ts`), 'utf8');
      for (const flag of flagsOf(given)) {
        expect([page, name, flag, new RegExp(`\\b${flag.replace(/^-+/, '')}\\b`).test(source)]).toEqual([page, name, flag, true]);
      }
    }
  });
});

it('docs/operating/README.md names every page', () => {
  const index = readFileSync(join(PAGES, 'README.md'), 'utf8');
  expect(pages.filter((page) => page !== 'README.md' && !index.includes(`](${page})`))).toEqual([]);
});

describe('external-secrets.yaml', () => {
  const examples = objectsOf(readFileSync(join(PAGES, 'external-secrets.yaml'), 'utf8'));

  it('brings the secrets that the chart reads, with their keys', () => {
    const agents = { enabled: true, existingSecret: 'jobmon-agents' };
    const objects = objectsOf(renderText(ROOT, { ...EXTERNAL, login: { issuer: 'https://login.example.org' }, agents }));
    const read = [...JSON.stringify(objects).matchAll(/"secretKeyRef":\{"name":"([^"]+)","key":"([^"]+)"\}/g)];
    expect(read.length).toBeGreaterThan(5);
    const brought = examples.flatMap(({ spec }) => {
      const { target, data } = spec as { target: { name: string }; data: { secretKey: string }[] };
      return data.map(({ secretKey }) => `${target.name} ${secretKey}`);
    });
    expect([...new Set(brought)].sort()).toEqual([...new Set(read.map(([, name, key]) => `${name} ${key}`))].sort());
  });

  it('is what the operator knows, without a field that it does not', () => {
    const { kinds, definitions } = JSON.parse(
      readFileSync(join(ROOT, 'tools/kubernetes-schemas/external-secrets.io-v1.json'), 'utf8'),
    ) as { kinds: Record<string, string>; definitions: object };
    const ajv = new Ajv({ allErrors: true, unknownFormats: 'ignore', logger: false });
    ajv.addSchema({ $id: 'operator', definitions });
    const faultsOf = (object: (typeof examples)[number]): unknown => {
      const definition = kinds[`${object.apiVersion} ${object.kind}`] ?? 'none';
      return ajv.validate(`operator#/definitions/${definition}`, object) ? [] : ajv.errors!.map(({ dataPath }) => dataPath);
    };
    for (const object of examples) expect([object.metadata.name, faultsOf(object)]).toEqual([object.metadata.name, []]);
    const [first] = examples as [{ apiVersion: string; kind: string; metadata: { name: string }; spec: object }];
    expect(faultsOf({ ...first, spec: { ...first.spec, refreshIntervall: '1h' } })).toEqual(['.spec']);
    expect(faultsOf({ ...first, spec: { ...first.spec, data: [{ secretKey: 'no blanks', remoteRef: {} }] } })).toEqual(
      expect.arrayContaining(['.spec.data[0].secretKey', '.spec.data[0].remoteRef']),
    );
  });
});
