/**
 * Proves that the import table of `eslint.config.mjs` bites: two wrong imports, one between libraries and one of a package that the layer
 * must not see, are linted as if they stood in a file, and both must be refused. Without nx's project graph the rule would pass
 * everything, so the graph is made first.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const ROOT = join(__dirname, '..');
const WRONG = [
  {
    file: 'libs/contracts/src/wrong-import.ts',
    code: "export { openDatabase } from '@jobmon/entities';\n",
    complaint: /layer:contracts/,
  },
  {
    file: 'apps/agent/src/wrong-import.ts',
    code: "export { DataSource } from 'typeorm';\n",
    complaint: /typeorm/,
  },
];
/** Lints what it is given, a text for each file's name, and prints the messages of each. */
const LINT = `const { ESLint } = require('eslint');
  const given = JSON.parse(process.argv[1]);
  Promise.all(given.map(({ file, code }) => new ESLint().lintText(code, { filePath: file }))).then((all) =>
    console.log(JSON.stringify(all.map(([result]) => result.messages.map(({ ruleId, message }) => ruleId + ': ' + message)))));`;

const node = (...args: string[]): string => {
  const done = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', env: { ...process.env, NX_DAEMON: 'false' } });
  if (done.status !== 0) throw new Error(`${args[0]} failed: ${done.stdout}${done.stderr}`);
  return done.stdout;
};

it('the import table refuses a wrong layer and a fenced package', () => {
  node('node_modules/nx/dist/bin/nx.js', 'show', 'projects');
  const said = JSON.parse(node('-e', LINT, JSON.stringify(WRONG)).trim().split('\n').at(-1)!) as string[][];
  WRONG.forEach(({ complaint }, at) => expect(said[at]!.join('\n')).toMatch(complaint));
}, 120_000);
