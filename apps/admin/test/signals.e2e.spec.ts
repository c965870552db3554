/** `jobmon-server` as the first process of a container, which has no signal's default: it ends by its own rule. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { buildHouse, freePort, ROOT } from '@jobmon/testkit';

it.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)(
  'ends at once on %s while it waits',
  async (signal, code) => {
    buildHouse();
    const url = `mariadb://nobody:nothing@127.0.0.1:${await freePort()}/none`;
    const main = path.join(ROOT, 'dist', 'apps', 'admin', 'main.js');
    const child = spawn(process.execPath, [main, 'db', 'migrate', '--wait', '600', '--db', url]);
    let said = '';
    child.stderr.on('data', (text: Buffer) => {
      said += text.toString();
      if (said.includes('Waiting for the database')) child.kill(signal);
    });
    expect(await once(child, 'exit')).toEqual([code, null]);
    expect(said).toContain('Waiting for the database');
  },
  60_000,
);
