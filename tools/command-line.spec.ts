import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { program } from '../apps/cli/src/program';
import { commandLinePage } from './command-line';

describe('docs/command-line.md', () => {
  const page = commandLinePage();

  it('is what the program says; when this fails, run: npm run docs', () => {
    expect(readFileSync(join(__dirname, '../docs/command-line.md'), 'utf8')).toBe(page);
  });

  it('has every command with an example', () => {
    const leaves = program().commands.flatMap((group) =>
      group.commands.length === 0 ? [group.name()] : group.commands.map((command) => `${group.name()} ${command.name()}`),
    );
    expect(leaves.length).toBeGreaterThan(20);
    for (const name of leaves) {
      const [, section] = page.split(`# \`jobmon ${name}\`\n`);
      expect([name, section?.split('\n#')[0]]).toEqual([name, expect.stringMatching(/^Examples?:\n {2}jobmon /m)]);
    }
  });
});
