/** The accounts of docker/accounts.sql on a private MariaDB, each with a password of its own. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';

/** Answers the accounts `app` and `migrate` of the database `docker`, each as `{password, url}`. Throws what MariaDB said. */
export function makeAccounts(root, { port, password }) {
  const passwords = { APP: randomBytes(12).toString('hex'), MIGRATE: randomBytes(12).toString('hex'), READ_ONLY: 'docker' };
  const text = readFileSync(path.join(root, 'docker', 'accounts.sql'), 'utf8');
  const input = text.replaceAll(/@([A-Z_]+)_PASSWORD@/g, (_, name) => passwords[name]);
  const client = ['--no-defaults', '-h127.0.0.1', `-P${port}`, '-ujobmon'];
  const made = spawnSync('mariadb', client, { input, env: { ...process.env, MYSQL_PWD: password }, encoding: 'utf8' });
  if (made.status !== 0) throw new Error(`docker/accounts.sql was refused: ${made.stderr}`);
  const account = (user, secret) => ({ password: secret, url: `mariadb://${user}:${secret}@127.0.0.1:${port}/docker` });
  return { app: account('app', passwords.APP), migrate: account('migrate', passwords.MIGRATE) };
}
